import { setTimeout as sleep } from "node:timers/promises";
import { ExecSyncRequest, RemovePodSandboxRequest, StopPodSandboxRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { rssKiB } from "../process-memory.ts";
import { runContainer } from "./hangs.ts";
import { processCpuMs } from "./process-cpu.ts";
import { call, type Side } from "./side.ts";

/** Commands in each burst. */
const count = 100;
const warmups = 20;
/** What a runtime still does after the last answer is counted too. */
const settleMs = 500;

/** The result of a number of commands in one container. */
export interface Burst {
  /** The time of each command. */
  readonly ms: readonly number[];
  /** From the first request to the last answer. */
  readonly wallMs: number;
  /**
   * CPU time for each command, in ms: of the whole side (NaN without a cgroup), and of its daemon alone (NaN when it
   * cannot be seen).
   */
  readonly userMs: number;
  readonly systemMs: number;
  readonly daemonMs: number;
}

/** The cost of ExecSync of `true`, which kubelets use for probes. */
export interface ExecSample {
  readonly oneByOne: Burst;
  readonly tenAtATime: Burst;
  /** After both bursts, in KiB; NaN when the daemon's process is not known. */
  readonly daemonRssKiB: number;
}

export async function measureExecs(side: Side, image: string): Promise<ExecSample> {
  const { podSandboxId, containerId } = await runContainer(side, image);
  await burst(side, containerId, warmups, 1);
  const oneByOne = await burst(side, containerId, count, 1);
  const tenAtATime = await burst(side, containerId, count, 10);
  const daemonRssKiB = side.pid === undefined ? Number.NaN : rssKiB(side.pid);
  await call(side, "stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId }));
  await call(side, "removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId }));
  return { oneByOne, tenAtATime, daemonRssKiB };
}

async function burst(side: Side, containerId: string, commands: number, atATime: number): Promise<Burst> {
  await sleep(settleMs, undefined, { signal: side.signal });
  const before = cpuOf(side);
  const startedAtMs = performance.now();
  const ms: number[] = [];
  let left = commands;
  const client = async () => {
    while (left-- > 0) {
      const sentAtMs = performance.now();
      const { exitCode } = await call(
        side,
        "execSync",
        ExecSyncRequest.fromPartial({ containerId, cmd: ["true"], timeout: 30n }),
      );
      if (exitCode !== 0) throw new Error(`${side.name}: execSync: true ended with ${exitCode}`);
      ms.push(performance.now() - sentAtMs);
    }
  };
  await Promise.all(Array.from({ length: atATime }, client));
  const wallMs = performance.now() - startedAtMs;
  await sleep(settleMs, undefined, { signal: side.signal });
  const after = cpuOf(side);
  const forEach = (of: (cpu: Cpu) => number) => (of(after) - of(before)) / commands;
  return {
    ms,
    wallMs,
    userMs: forEach((cpu) => cpu.userMs),
    systemMs: forEach((cpu) => cpu.systemMs),
    daemonMs: forEach((cpu) => cpu.daemonMs),
  };
}

interface Cpu {
  readonly userMs: number;
  readonly systemMs: number;
  readonly daemonMs: number;
}

function cpuOf({ cgroup, pid }: Side): Cpu {
  const { userMs, systemMs } = cgroup?.userAndSystemMs() ?? { userMs: Number.NaN, systemMs: Number.NaN };
  return { userMs, systemMs, daemonMs: pid === undefined ? Number.NaN : processCpuMs(pid) };
}
