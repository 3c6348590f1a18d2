import { BlockList, isIP } from "node:net";
import { Code, StatusError } from "@keelson/base/status.ts";

/**
 * Where an address leads: to this machine, to services that can only be reached on its link (in clouds they hand out
 * credentials), or elsewhere.
 */
type Reach = "loopback" | "link-local" | "elsewhere";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addSubnet("0.0.0.0", 8, "ipv4"); // Linux connects to itself.
loopback.addAddress("::", "ipv6");
loopback.addAddress("::1", "ipv6");

const linkLocal = new BlockList();
linkLocal.addSubnet("169.254.0.0", 16, "ipv4");
linkLocal.addSubnet("fe80::", 10, "ipv6");
linkLocal.addAddress("fd00:ec2::254", "ipv6"); // A metadata service whose address is link-local only in IPv4.

/** An address that came from a server and not from the user. */
export interface ForeignAddress {
  url: URL;
  /** Whether an IP address to which the name resolves may be connected to; undefined: all may. */
  mayReach: ((address: string) => boolean) | undefined;
}

/**
 * The address to which a registry sends us, in a redirect or as its token server. It must use https, or http if the
 * registry itself does. It must not lead to this machine unless the registry is there too, and never to link-local
 * services: otherwise any registry could make a node call its own services. Throws an error with `code` that names the
 * purpose, `what`.
 */
export function foreignAddress(
  from: URL,
  text: string,
  code: Code,
  what: "a redirect" | "a token server",
): ForeignAddress {
  const url = URL.canParse(text, from) ? new URL(text, from) : undefined;
  const mayBePlain =
    from.protocol === "http:" ||
    (reachOf(from.hostname) === "loopback" && url !== undefined && reachOf(url.hostname) === "loopback");
  if (url === undefined || !(url.protocol === "https:" || (url.protocol === "http:" && mayBePlain))) {
    throw new StatusError(code, `${from.host} names ${what} that is not an https address`);
  }
  // Node would send them as credentials.
  url.username = "";
  url.password = "";
  if (url.hostname === from.hostname) return { url, mayReach: undefined };
  const mayReach = (address: string) => mayGo(reachOf(from.hostname), reachOf(address));
  if (!mayReach(url.hostname))
    throw new StatusError(
      code,
      `${from.host} names ${what} at ${url.host}: refused, as that can only be reached from this node`,
    );
  return { url, mayReach };
}

function mayGo(from: Reach, to: Reach): boolean {
  return to === "elsewhere" || (to === "loopback" && from === "loopback");
}

/** Classifies an IP address or the host name of a URL. */
function reachOf(hostname: string): Reach {
  const name = hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  if (/^(.*\.)?localhost$/i.test(name)) return "loopback";
  const family = isIP(name) === 6 ? "ipv6" : "ipv4";
  if (isIP(name) === 0) return "elsewhere";
  return loopback.check(name, family) ? "loopback" : linkLocal.check(name, family) ? "link-local" : "elsewhere";
}
