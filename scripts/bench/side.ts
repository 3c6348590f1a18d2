import type { CriClient } from "@keelson/cri/client.ts";
import { VersionRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import type { PluginDir } from "./plugin-dir.ts";
import type { SideCgroup } from "./side-cgroup.ts";

/** One of the two runtimes that are measured. */
export interface Side {
  /** `keelsond` or the peer's name. */
  readonly name: string;
  readonly client: CriClient;
  /** `unix:///…` */
  readonly endpoint: string;
  /** The daemon's process; undefined when it cannot be found. */
  readonly pid: number | undefined;
  /** The cgroup of the daemon and all its pods; undefined for a daemon that we did not start. */
  readonly cgroup: SideCgroup | undefined;
  /** CRI: LinuxPodSandboxConfig.cgroup_parent. */
  readonly cgroupParent: string;
  readonly handler: string;
  /** What it runs containers with, for the report. */
  readonly runs: string;
  readonly logDirectory: string;
  /** The CNI plugins that it uses; undefined when it uses the machine's. */
  readonly plugins: PluginDir | undefined;
  /** Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Makes a call, by default with a deadline of a minute. */
export async function call<N extends UnaryCallName>(
  side: Side,
  name: N,
  request: RequestOf<N>,
  timeoutMs = 60_000,
): Promise<ResponseOf<N>> {
  try {
    return await side.client.call(name, request, AbortSignal.any([side.signal, AbortSignal.timeout(timeoutMs)]));
  } catch (error) {
    side.signal.throwIfAborted();
    throw new Error(`${side.name}: ${name}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

/** The name and version that a runtime gives itself. */
export async function versionOf(client: CriClient): Promise<{ name: string; version: string }> {
  const { runtimeName, runtimeVersion } = await client.call(
    "version",
    VersionRequest.fromPartial({}),
    AbortSignal.timeout(10_000),
  );
  return { name: runtimeName, version: runtimeVersion };
}
