import { Code, StatusError } from "@keelson/base/status.ts";
import type { Result } from "@keelson/cni/result.ts";

/**
 * The addresses of a pod's interface, without prefix length: first the primary one, which is the first IPv4 address if
 * there is one (as containerd and CRI-O have it), then the others in the plugins' order. An address that names
 * no interface is the pod's (CNI SPEC.md before 0.3.0 knew no interfaces). Throws FailedPrecondition when there is none.
 */
export function podIps(result: Result, ifName: string): string[] {
  const addresses = result.ips.filter(({ interface: index }) => {
    const of = index === undefined ? undefined : result.interfaces[index];
    return of === undefined || (of.name === ifName && of.sandbox !== undefined);
  });
  const ips = addresses.map((ip) => ip.address.slice(0, ip.address.indexOf("/")));
  const primary = ips.find((ip) => !ip.includes(":")) ?? ips[0];
  if (primary === undefined)
    throw new StatusError(
      Code.FailedPrecondition,
      `the plugins gave ${ifName} no address; does the configuration have an "ipam"?`,
    );
  return [primary, ...ips.filter((ip) => ip !== primary)];
}
