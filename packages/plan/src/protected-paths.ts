import type { LinuxContainerSecurityContext } from "@keelson/cri/gen/runtime/v1/api.ts";
import { containerPath } from "./clean-path.ts";
import { invalidField, quote } from "./field-check.ts";

/** Paths in a container that are hidden, and those that cannot be written. */
export interface ProtectedPaths {
  masked: string[];
  readonly: string[];
}

/** What proc(5) and sysfs show or change outside the container: the lists of Kubernetes' DefaultProcMount. */
const defaults: ProtectedPaths = {
  masked: [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/interrupts",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
  ],
  readonly: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
};

/**
 * CRI: masked_paths and readonly_paths. The kubelet always sends both, and for ProcMount Unmasked it sends empty lists,
 * so empty lists protect nothing (as in containerd). A config without any security context gets the defaults. For
 * privileged containers nothing is protected. Throws InvalidArgument for a relative path.
 */
export function planProtectedPaths(security: LinuxContainerSecurityContext | undefined): ProtectedPaths {
  if (security === undefined) return { masked: [...defaults.masked], readonly: [...defaults.readonly] };
  const masked = paths("linux.security_context.masked_paths", security.maskedPaths);
  const readonly = paths("linux.security_context.readonly_paths", security.readonlyPaths);
  return security.privileged ? { masked: [], readonly: [] } : { masked, readonly };
}

function paths(field: string, list: readonly string[]): string[] {
  return list.map((path, i) => {
    if (!path.startsWith("/")) throw invalidField(`${field}[${i}]`, `${quote(path)} must be an absolute path`);
    return containerPath(`${field}[${i}]`, path);
  });
}
