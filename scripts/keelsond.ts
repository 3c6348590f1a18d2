import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DaemonProcess } from "./daemon-process.ts";

/** The pod network of one daemon: its own bridge, and all files in one directory. */
export interface PodNetwork {
  /** The directory with the CNI list, for `conf_dir`. */
  readonly confDir: string;
  readonly bridge: string;
  /** The directory with the plugins, for `bin_dirs`; undefined for the daemon's default. */
  readonly binDir?: string;
}

/** Writes a list like small clusters have: bridge with NAT, host-local, portmap. The bridge is .1 of `subnet`. */
export function writePodNetwork(dir: string, bridge: string, subnet: string): PodNetwork {
  const confDir = join(dir, "net.d");
  mkdirSync(confDir, { recursive: true });
  const ipam = {
    type: "host-local",
    dataDir: join(dir, "ipam"),
    ranges: [[{ subnet: `${subnet}.0/24` }]],
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

/** Removes the bridge, which the bridge plugin leaves for the next pod. */
export function removePodNetwork({ bridge }: PodNetwork): void {
  try {
    execFileSync("ip", ["link", "delete", bridge], { stdio: "ignore" });
  } catch {
    // Without any attached pod there is no bridge.
  }
}

/** keelsond from the sources, as developers run it, and as it ships, built by `npm run build`. */
export const keelsondOf = {
  sources: join(import.meta.dirname, "../bin/keelsond"),
  dist: join(import.meta.dirname, "../dist/bin/keelsond"),
} as const;

/** How a keelsond differs from the default. */
export interface KeelsondOptions {
  /** The program; by default the one from the sources. */
  readonly command?: string;
  /** More sections of its configuration, as TOML. */
  readonly sections?: string;
}

/** Starts keelsond, or starts it again, with everything in `dir`: config, root, state, socket and log. */
export async function startKeelsond(
  dir: string,
  network: PodNetwork,
  signal: AbortSignal,
  { command = keelsondOf.sources, sections = "" }: KeelsondOptions = {},
): Promise<DaemonProcess> {
  const configFile = join(dir, "config.toml");
  const endpoint = `unix://${join(dir, "keelson.sock")}`;
  const config = [
    `root = ${JSON.stringify(join(dir, "root"))}`,
    `state = ${JSON.stringify(join(dir, "state"))}`,
    `socket = ${JSON.stringify(endpoint)}`,
    "[cni]",
    `conf_dir = ${JSON.stringify(network.confDir)}`,
    ...(network.binDir === undefined ? [] : [`bin_dirs = ${JSON.stringify([network.binDir])}`]),
  ];
  mkdirSync(dir, { recursive: true });
  writeFileSync(configFile, `${config.join("\n")}\n${sections}`);
  return await DaemonProcess.start(
    { name: "keelsond", command, args: ["--config", configFile], endpoint, logFile: keelsondLog(dir) },
    signal,
  );
}

/** The log of the keelsond in `dir`. */
export function keelsondLog(dir: string): string {
  return join(dir, "keelsond.log");
}
