import { existsSync, readdirSync, readFileSync } from "node:fs";
import { hostname, release } from "node:os";
import { join } from "node:path";
import type { CgroupLayout } from "@keelson/linux/cgroup.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { readMounts } from "@keelson/linux/mount.ts";
import { capabilityNames } from "@keelson/plan/capabilities.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import { ownStackLimit } from "@keelson/plan/rlimits.ts";
import type { IdMapFacts } from "./id-map-probe.ts";

/** For callers that create no containers. */
const noIdMaps: IdMapFacts = { recursiveReadOnlyMounts: false, idMapProblem: "it was not tried" };

/**
 * Looks at the machine once, at start. `cgroupDriver` is the configured one, if any; `idMaps` is what probeIdMaps
 * found.
 */
export function collectHostFacts(
  cgroups: CgroupLayout,
  cgroupDriver: HostFacts["cgroupDriver"] | undefined,
  idMaps: IdMapFacts = noIdMaps,
): HostFacts {
  const capabilities = boundingSet();
  const stackLimitBytes = ownStackLimit(readText("/proc/self/limits"));
  return {
    arch: process.arch,
    kernelVersion: release(),
    hostname: hostname(),
    cgroupVersion: cgroups.kind,
    cgroupDriver: cgroupDriver ?? (existsSync("/run/systemd/system") ? "systemd" : "cgroupfs"),
    controllers: controllersOf(cgroups),
    cgroup2MountOptions: cgroup2MountOptions(),
    hasSwapAccounting: hasSwapAccounting(cgroups),
    hugepageSizes: hugepageSizes(),
    capabilities,
    oomScoreAdjMin: capabilities.includes("CAP_SYS_RESOURCE")
      ? -1000
      : Number(readText("/proc/self/oom_score_adj") || 0),
    ...(stackLimitBytes === undefined ? {} : { stackLimitBytes }),
    seccompEnabled: /^Seccomp:/m.test(readText("/proc/self/status")),
    appArmorEnabled: readText("/sys/module/apparmor/parameters/enabled").startsWith("Y"),
    appArmorDefaultProfile: "",
    seLinuxEnabled: existsSync("/sys/fs/selinux/enforce"),
    resctrlMounted: existsSync("/sys/fs/resctrl/schemata"),
    ...seLinuxLabels(),
    ...idMaps,
  };
}

/** The labels for containers in the machine's policy: selinux_lxc_contexts_path(3). */
function seLinuxLabels(): Pick<HostFacts, "seLinuxProcessLabel" | "seLinuxFileLabel"> {
  const policy = /^\s*SELINUXTYPE\s*=\s*(\w+)/m.exec(readText("/etc/selinux/config"))?.[1] ?? "targeted";
  const contexts = readText(`/etc/selinux/${policy}/contexts/lxc_contexts`);
  const labelOf = (key: string) =>
    new RegExp(`^\\s*${key}\\s*=\\s*"?([\\w.-]+:[\\w.-]+:[\\w.-]+:[\\w.:,-]+)"?\\s*$`, "m").exec(contexts)?.[1];
  return {
    seLinuxProcessLabel: labelOf("process") ?? "system_u:system_r:container_t:s0",
    seLinuxFileLabel: labelOf("file") ?? "system_u:object_r:container_file_t:s0",
  };
}

/** The names in a capability mask of /proc/PID/status, lowest bit first. */
function capabilitiesInMask(mask: bigint): string[] {
  return capabilityNames.filter((_, bit) => (mask & (1n << BigInt(bit))) !== 0n);
}

function boundingSet(): string[] {
  const hex = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readText("/proc/self/status"))?.[1];
  return hex === undefined ? [] : capabilitiesInMask(BigInt(`0x${hex}`));
}

/**
 * The controllers that a container can be limited with. On a hybrid machine OCI runtimes use the v1 hierarchies alone,
 * so a controller that is left on the v2 tree (often hugetlb) is out of reach.
 */
export function controllersOf({ kind, hierarchies }: CgroupLayout): string[] {
  const usable = kind === "hybrid" ? hierarchies.filter((h) => h.version === 1) : hierarchies;
  return [...new Set(usable.flatMap((h) => h.controllers))].sort();
}

function hasSwapAccounting(cgroups: CgroupLayout): boolean {
  const dir = cgroups.hierarchies.find((h) => h.controllers.includes("memory"))?.dir;
  if (dir === undefined) return false;
  if (existsSync(join(dir, "memory.memsw.limit_in_bytes"))) return true;
  // The root of a v2 tree has no memory.swap.max; any group below it has, when swap is accounted.
  return cgroups.kind === "v2" && subdirectories(dir).some((d) => existsSync(join(dir, d, "memory.swap.max")));
}

function subdirectories(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true })
    .filter((e) => e.isDirectory())
    .map((e) => e.name);
}

function cgroup2MountOptions(): string[] {
  const mount = readMounts().find((m) => m.fstype === "cgroup2");
  return mount?.superOptions.split(",").filter((o) => o !== "rw" && o !== "ro") ?? [];
}

/** "hugepages-2048kB" → "2MB", as the CRI writes sizes. */
function hugepageSizes(): string[] {
  try {
    return readdirSync("/sys/kernel/mm/hugepages").flatMap((name) => {
      const kiB = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? 0);
      if (kiB === 0) return [];
      return kiB >= 1 << 20 ? `${kiB >> 20}GB` : kiB >= 1024 ? `${kiB >> 10}MB` : `${kiB}KB`;
    });
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}

/** A kernel file; "" when it does not exist or cannot be read. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "EACCES", "EINVAL")) return "";
    throw error;
  }
}
