import type { SELinuxOption } from "@keelson/cri/gen/runtime/v1/api.ts";
import { unimplementedField } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";

/**
 * Labels mean nothing to a kernel without SELinux, and a pod's manifest is written for the whole
 * cluster: there they are left out, as containerd and CRI-O do. A kernel with SELinux would have to
 * enforce them: Unimplemented until this runtime sets them.
 */
export function refuseSeLinux(field: string, options: SELinuxOption | undefined, host: HostFacts): void {
  if (!host.seLinuxEnabled || options === undefined) return;
  if (options.user + options.role + options.type + options.level !== "") throw unimplementedField(field, "is not there yet, and SELinux is on on this machine");
}
