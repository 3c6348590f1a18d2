import type { DNSConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { invalidField, quote } from "./field-check.ts";

/**
 * The text of the pod's /etc/resolv.conf (resolv.conf(5)). Throws InvalidArgument for a value that is not a single
 * word, as it could smuggle in another line.
 */
export function resolvConf(dns: DNSConfig): string {
  for (const [key, values] of Object.entries({ servers: dns.servers, searches: dns.searches, options: dns.options })) {
    for (const value of values) {
      if (!/^[\x21-\x7e\u00a1-\uffff]{1,1024}$/.test(value))
        throw invalidField(`dns_config.${key}`, `${quote(value)} must be one word of at most 1024 characters`);
    }
  }
  const lines = dns.servers.map((server) => `nameserver ${server}`);
  if (dns.searches.length > 0) lines.unshift(`search ${dns.searches.join(" ")}`);
  if (dns.options.length > 0) lines.push(`options ${dns.options.join(" ")}`);
  return lines.map((line) => `${line}\n`).join("");
}

export interface HostsFileInput {
  hostname: string;
  /** The pod's addresses, known once its network is attached; none in the host's network. */
  ips: readonly string[];
  hostNetwork: boolean;
  /** The host's own /etc/hosts, when the pod shares the host's network. */
  hostHosts?: string;
}

/**
 * The text of the pod's /etc/hosts (hosts(5)). A kubelet mounts its own over it; this one is for pods without one. In
 * the host's network the host's names stay valid, so the host's file is used unchanged.
 */
export function hostsFile(input: HostsFileInput): string {
  if (input.hostNetwork && input.hostHosts !== undefined) return input.hostHosts;
  const loopback = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff00::0\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
  ];
  const own = input.ips.map((ip) => `${ip}\t${namesOf(input.hostname)}`);
  return [...loopback, ...own].map((line) => `${line}\n`).join("");
}

/** The text of the pod's /etc/hostname (hostname(5)). */
export function hostnameFile(hostname: string): string {
  return `${hostname}\n`;
}

/** hosts(5): a fully qualified name comes before its short form. */
function namesOf(hostname: string): string {
  const short = hostname.split(".")[0]!;
  return short === hostname || short === "" ? hostname : `${hostname} ${short}`;
}
