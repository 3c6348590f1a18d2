import type { Capability } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { CapabilitiesSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { invalidField, quote, unsupportedHere } from "./field-check.ts";

/** capabilities(7), in the order of their bits (linux/capability.h, as of Linux 6.18). */
export const capabilityNames: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
];

const known: ReadonlySet<string> = new Set(capabilityNames);

/** For a container that asks for nothing: Docker's list, which containerd has too, and CRI-O except for two. */
const defaultCapabilities = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

const field = "linux.security_context.capabilities";

/** The capabilities of a container's first process. Sorted; `ambient` is part of `granted`. */
export interface CapabilityPlan {
  granted: string[];
  ambient: string[];
}

/**
 * CRI: Capability. First ALL is added or dropped, then single ones are added, then dropped: `add ALL, drop CHOWN` is
 * all but one. Names may be written with or without CAP_, in upper or lower case. Privileged means every capability of
 * the host, whatever is added or dropped, as Kubernetes documents it.
 *
 * Runtimes fail when asked for a capability that the daemon itself lacks, so the default list, ALL and privileged are
 * cut down to `hostCapabilities`. Throws FailedPrecondition for a capability asked for by name that the daemon lacks,
 * InvalidArgument for an unknown name.
 */
export function planCapabilities(
  asked: Capability | undefined,
  privileged: boolean,
  hostCapabilities: readonly string[],
): CapabilityPlan {
  const host = hostCapabilities.filter((name) => known.has(name));
  const add = named(`${field}.add_capabilities`, asked?.addCapabilities, host);
  const drop = named(`${field}.drop_capabilities`, asked?.dropCapabilities, undefined);
  const ambient = named(`${field}.add_ambient_capabilities`, asked?.addAmbientCapabilities, host);
  if (privileged) return { granted: host.sort(), ambient: (ambient.all ? host : [...ambient.names]).sort() };

  const base = drop.all
    ? []
    : add.all || ambient.all
      ? host
      : defaultCapabilities.filter((name) => host.includes(name));
  const kept = (names: Iterable<string>): string[] =>
    [...new Set(names)].filter((name) => !drop.names.has(name)).sort();
  return {
    granted: kept([...base, ...add.names, ...ambient.names]),
    ambient: kept([...(ambient.all && !drop.all ? host : []), ...ambient.names]),
  };
}

/**
 * The five sets (capabilities(7)). The inheritable set has only what ambient needs: with more in it, programs with file
 * capabilities would gain them across execve (CVE-2022-24769).
 */
export function capabilitiesSpec(plan: CapabilityPlan): CapabilitiesSpec {
  const { granted, ambient } = plan;
  return { bounding: granted, effective: granted, permitted: granted, inheritable: ambient, ambient };
}

interface Names {
  all: boolean;
  names: Set<string>;
}

function named(field: string, texts: readonly string[] | undefined, host: readonly string[] | undefined): Names {
  const result: Names = { all: false, names: new Set() };
  for (const text of texts ?? []) {
    const upper = text.toUpperCase();
    if (upper === "ALL") {
      result.all = true;
      continue;
    }
    const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
    if (!known.has(name)) throw invalidField(field, `${quote(text)} is not a capability`);
    if (host !== undefined && !host.includes(name))
      throw unsupportedHere(field, `${name} cannot be given: this runtime itself runs without it`);
    result.names.add(name);
  }
  return result;
}
