import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DaemonProcess } from "./daemon-process.ts";

/** The network of the pods of one daemon: a bridge that no other has, all files in one directory. */
export interface PodNetwork {
  /** The directory with the CNI list, as `conf_dir` wants it. */
  readonly confDir: string;
  readonly bridge: string;
  /** The directory with the plugins, as `bin_dir` wants it; unless told, where the daemon looks by itself. */
  readonly binDir?: string;
}

/** Writes the list that small clusters have: bridge with NAT, host-local, portmap. Of `subnet`, such as `10.70.0`, .1 is the bridge. */
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

/** The bridge plugin leaves its bridge for the next pod; whoever set up the network takes it down. */
export function removePodNetwork({ bridge }: PodNetwork): void {
  try {
    execFileSync("ip", ["link", "delete", bridge], { stdio: "ignore" });
  } catch {
    // No pod was ever attached: there is no bridge.
  }
}

/** keelsond as a developer runs it, from the sources; and as it ships, made by `npm run build`. */
export const keelsondOf = {
  sources: join(import.meta.dirname, "../bin/keelsond"),
  dist: join(import.meta.dirname, "../dist/bin/keelsond"),
} as const;

/** What a keelsond has that others have not. */
export interface KeelsondOptions {
  /** The program; the one of the sources unless told. */
  readonly command?: string;
  /** More of its configuration: sections, as TOML. */
  readonly sections?: string;
}

/** Starts keelsond, or starts it again, with all it has in `dir`: config, root, state, socket and log. */
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

/** Where the keelsond in `dir` logs. */
export function keelsondLog(dir: string): string {
  return join(dir, "keelsond.log");
}
