import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PodNetwork } from "../keelsond.ts";

const bridge = "keelson-soak";

/** The host's address on the bridge, at which pods' host ports can be reached. */
export const gateway = "10.72.0.1";

/** A network like the demo's (bridge with NAT, host-local, portmap), but with 4,093 addresses instead of 253. */
export function writeSoakNetwork(dir: string): PodNetwork {
  const confDir = join(dir, "net.d");
  mkdirSync(confDir, { recursive: true });
  const ipam = {
    type: "host-local",
    dataDir: addressesDir(dir),
    ranges: [[{ subnet: "10.72.0.0/20" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const list = {
    cniVersion: "1.0.0",
    name: bridge,
    plugins: [
      { type: "bridge", bridge, isGateway: true, ipMasq: true, ipam },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
  writeFileSync(join(confDir, "10-pods.conflist"), JSON.stringify(list, undefined, 2));
  return { confDir, bridge };
}

/** Where host-local keeps a directory for each network, with a file for each address. */
export function addressesDir(dir: string): string {
  return join(dir, "ipam");
}
