import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PodNetwork } from "../keelsond.ts";

const bridge = "keelson-soak";

/** The host's address on the bridge, by which host ports of pods can be reached. */
export const gateway = "10.72.0.1";

/** A network as small clusters have it (bridge with NAT, host-local, portmap), with 4,093 addresses in place of the 253 of the demo's. */
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

/** host-local keeps a directory for each network there, with a file for each address. */
export function addressesDir(dir: string): string {
  return join(dir, "ipam");
}
