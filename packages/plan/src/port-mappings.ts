import { Protocol, type PortMapping } from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkInteger, invalidField, quote } from "./field-check.ts";
import { isIpAddress } from "./ip-address.ts";

/** A port of the host that leads into the pod, named as in CNI's portMappings capability. */
export interface PortMappingPlan {
  protocol: "tcp" | "udp" | "sctp";
  containerPort: number;
  hostPort: number;
  /** Empty: every address of the host. */
  hostIP: string;
}

/**
 * The mappings that need work: those with a host port, in a pod with its own network. A kubelet also lists container
 * ports without a host port, and in the host's network the two are the same port. Throws InvalidArgument for a bad port
 * or address, and for a host port that is used twice.
 */
export function planPortMappings(mappings: readonly PortMapping[], ownNetwork: boolean): PortMappingPlan[] {
  const plans = mappings.map(planPortMapping).filter((plan) => plan.hostPort > 0 && ownNetwork);
  const taken = new Set<string>();
  for (const { protocol, hostIP, hostPort } of plans) {
    const key = `${protocol} ${hostIP} ${hostPort}`;
    if (taken.has(key)) throw invalidField("port_mappings", `has host port ${hostPort}/${protocol} twice`);
    taken.add(key);
  }
  return plans;
}

function planPortMapping(mapping: PortMapping, index: number): PortMappingPlan {
  const field = `port_mappings[${index}]`;
  if (mapping.hostIp !== "" && !isIpAddress(mapping.hostIp))
    throw invalidField(`${field}.host_ip`, `${quote(mapping.hostIp)} is not an IP address`);
  const hostPort = checkInteger(`${field}.host_port`, mapping.hostPort, 0, 65535);
  const containerPort = checkInteger(`${field}.container_port`, mapping.containerPort, hostPort > 0 ? 1 : 0, 65535);
  return { protocol: protocolOf(field, mapping.protocol), containerPort, hostPort, hostIP: mapping.hostIp };
}

function protocolOf(field: string, protocol: Protocol): PortMappingPlan["protocol"] {
  switch (protocol) {
    case Protocol.TCP:
      return "tcp";
    case Protocol.UDP:
      return "udp";
    case Protocol.SCTP:
      return "sctp";
    default:
      throw invalidField(`${field}.protocol`, `${String(protocol)} is not a protocol of the CRI`);
  }
}
