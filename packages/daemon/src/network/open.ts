import { join } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import type { Config } from "../config/schema.ts";
import { createPluginExec } from "./exec.ts";
import { PodNetworks } from "./pod-networks.ts";

/** The pods' networks as the configuration has them, followed until `parts` are disposed of. */
export function openNetworks(config: Config, log: Log, parts: AsyncDisposableStack): PodNetworks {
  const { conf_dir: confDir, bin_dirs: binDirs, cache_dir: cacheDir = join(config.root, "cni") } = config.cni;
  const exec = createPluginExec(process.env);
  const networks = new PodNetworks({ log, confDir, binDirs, cacheDir, exec, cleanupTimeoutMs: config.timeouts.cleanup * 1000 });
  parts.defer(() => networks.close());
  // Not waited for: a configuration directory that hangs must not keep the daemon from serving.
  void networks.start();
  return networks;
}
