import { Code, StatusError } from "@keelson/base/status.ts";
import type { Result } from "@keelson/cni/result.ts";

/**
 * The addresses of a pod's interface, without prefix lengths: first the primary one, which is the first IPv4 address if
 * there is any (as in containerd and CRI-O), then the others in the plugins' order. An address without an interface is
 * the pod's (CNI had no interfaces before 0.3.0). Throws FailedPrecondition when there is no address.
 */
export function podIps(result: Result, ifName: string): string[] {
  const addresses = result.ips.filter(({ interface: index }) => {
    const owner = index === undefined ? undefined : result.interfaces[index];
    return owner === undefined || (owner.name === ifName && owner.sandbox !== undefined);
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
