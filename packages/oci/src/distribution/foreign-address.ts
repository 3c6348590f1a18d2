import { BlockList, isIP } from "node:net";
import { Code, StatusError } from "@keelson/base/status.ts";

/** Where an address leads: to this machine, to services that only its link reaches (a cloud's hand out credentials), or elsewhere. */
type Reach = "loopback" | "link-local" | "elsewhere";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addSubnet("0.0.0.0", 8, "ipv4"); // Linux connects to itself
loopback.addAddress("::", "ipv6");
loopback.addAddress("::1", "ipv6");

const linkLocal = new BlockList();
linkLocal.addSubnet("169.254.0.0", 16, "ipv4");
linkLocal.addSubnet("fe80::", 10, "ipv6");
linkLocal.addAddress("fd00:ec2::254", "ipv6"); // a metadata service that is link-local only with IPv4

/** An address that a server named, not the user. */
export interface ForeignAddress {
  url: URL;
  /** Whether it may be connected to at this IP address, which its name turned out to have; undefined: at any. */
  mayReach: ((address: string) => boolean) | undefined;
}

/**
 * The address that a registry sends us to, in a redirect or as its token server. It must be https, or http as the
 * registry itself is, and may not lead to this machine or to link-local services unless the registry is there too:
 * otherwise any registry could have a node call its own services. Throws `code`, saying what it was for.
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
  // Node would send them as a login.
  url.username = "";
  url.password = "";
  if (url.hostname === from.hostname) return { url, mayReach: undefined };
  const mayReach = (address: string) => mayGo(reachOf(from.hostname), reachOf(address));
  if (!mayReach(url.hostname))
    throw new StatusError(
      code,
      `${from.host} names ${what} at ${url.host}, which only this node reaches; that is refused`,
    );
  return { url, mayReach };
}

function mayGo(from: Reach, to: Reach): boolean {
  return to === "elsewhere" || (to === "loopback" && from === "loopback");
}

/** Of an IP address, or of the host name of a URL. */
function reachOf(hostname: string): Reach {
  const name = hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  if (/^(.*\.)?localhost$/i.test(name)) return "loopback";
  const family = isIP(name) === 6 ? "ipv6" : "ipv4";
  if (isIP(name) === 0) return "elsewhere";
  return loopback.check(name, family) ? "loopback" : linkLocal.check(name, family) ? "link-local" : "elsewhere";
}
