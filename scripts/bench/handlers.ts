import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "@keelson/base/status.ts";
import {
  ExecSyncRequest,
  type PodSandboxConfig,
  RemovePodSandboxRequest,
  StartContainerRequest,
  StatusRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { runtimeHandlers } from "@keelson/testkit/runtime-handlers.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { pssKiB } from "../process-memory.ts";
import { removePods } from "../remove-pods.ts";
import { settledMemAvailableKiB } from "./memory.ts";
import { podProcesses } from "./pod-processes.ts";
import { benchLabels, create, idleCommand, measure, podConfig, runPod, type Sample, stoppable } from "./round.ts";
import { call, type Side } from "./side.ts";
import { execLatency } from "./streams.ts";

const rounds = 15;
const warmupRounds = 1;
const execsInRound = 4;
const podCount = 8;
const memoryTurns = 3;
const logTurns = 3;
/** How long a container writes, and how much at most: no more than the page cache takes. */
const logMs = 3_000;
const logBytes = 512 * 2 ** 20;
/** A line of the length that services write. */
const logLine = "x".repeat(120);
/** No round or turn except the first begins later than this after the first of its kind. */
const kindMs = { rounds: 50_000, memory: 45_000, logs: 25_000 } as const;

/** What pods of one handler cost. */
export interface HandlerSample {
  readonly name: string;
  /** How it runs a pod, and its version as the daemon reports it. */
  readonly what: string;
  /** Times, and the CPU time of the daemon, helpers and containers together, by call. */
  readonly calls: Map<string, Sample[]>;
  readonly memory: HandlerMemory[];
  /** MB (10^6 bytes) per second that came into the file of a container's log. */
  readonly logMegabytesPerSecond: number[];
}

/** What a pod with one idle container takes, in KiB. */
export interface HandlerMemory {
  /** How much MemAvailable fell: with what the kernel charges to nobody, and with everything else on the machine. */
  readonly availableKiB: number;
  /**
   * How much the cgroup of the daemon and all pods grew, without the daemon's own growth; NaN without such a cgroup.
   */
  readonly cgroupKiB: number;
  /** PSS of the pod's processes, by their names. */
  readonly pssKiB: ReadonlyMap<string, number>;
}

export interface HandlersSample {
  readonly measured: readonly HandlerSample[];
  readonly missing: readonly { readonly name: string; readonly problem: string }[];
}

/** Measures a pod's life, memory and log with each handler that the machine has, in turns: three minutes at most. */
export async function measureHandlers(
  side: Side,
  image: string,
  progress: (text: string) => void,
): Promise<HandlersSample> {
  const missing: { name: string; problem: string }[] = [];
  const measured: HandlerSample[] = [];
  const shown = await shownHandlers(side);
  for (const { name, what } of runtimeHandlers()) {
    progress(`trying ${name}`);
    const problem = await problemOf(side, image, name, shown);
    if (problem !== undefined) missing.push({ name, problem });
    else
      measured.push({
        name,
        what: `${what} (${shown[name]?.version ?? ""})`,
        calls: new Map(),
        memory: [],
        logMegabytesPerSecond: [],
      });
  }
  const inTurns = async (
    what: string,
    count: number,
    forMs: number,
    body: (sample: HandlerSample, own: Side, turn: number) => Promise<void>,
  ): Promise<void> => {
    const startedAtMs = performance.now();
    for (let turn = 0; turn < count && (turn === 0 || performance.now() < startedAtMs + forMs); turn++) {
      for (const sample of turn % 2 === 0 ? measured : measured.toReversed()) {
        progress(`${what} of ${sample.name}, ${turn + 1} of ${count}`);
        await body(sample, { ...side, handler: sample.name }, turn);
      }
    }
  };
  await inTurns("pods", warmupRounds + rounds, kindMs.rounds, async ({ calls }, own, turn) => {
    for (const [name, samples] of await podLife(own, image)) {
      if (turn >= warmupRounds) calls.set(name, [...(calls.get(name) ?? []), ...samples]);
    }
  });
  await inTurns(
    "log",
    logTurns,
    kindMs.logs,
    async ({ logMegabytesPerSecond }, own) => void logMegabytesPerSecond.push(await logSpeed(own, image)),
  );
  await inTurns(
    "memory",
    memoryTurns,
    kindMs.memory,
    async ({ memory }, own) => void memory.push(await memoryOfPods(own, image)),
  );
  return { measured, missing };
}

/** What keelsond's Status reports of its handlers. */
async function shownHandlers(
  side: Side,
): Promise<Record<string, { readonly version: string; readonly problem: string }>> {
  const { info } = await call(side, "status", StatusRequest.fromPartial({ verbose: true }));
  return JSON.parse(info["runtimes"] ?? "{}") as Record<string, { version: string; problem: string }>;
}

/** Why a handler cannot be measured: the problem that the daemon reports, or the error of a first pod. */
async function problemOf(
  side: Side,
  image: string,
  name: string,
  shown: Awaited<ReturnType<typeof shownHandlers>>,
): Promise<string | undefined> {
  const told = shown[name]?.problem ?? "it is not installed";
  if (told !== "") return told;
  try {
    await podLife({ ...side, handler: name }, image);
    return undefined;
  } catch (error) {
    side.signal.throwIfAborted();
    await removePods(side.client, benchLabels);
    return messageOf(error);
  }
}

/** One pod with a container: up, some execs, down. */
async function podLife(side: Side, image: string): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>();
  const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const { value, sample } = await measure(side, work);
    samples.set(name, [...(samples.get(name) ?? []), sample]);
    return value;
  };
  const config = podConfig(side, "handler");
  const { podSandboxId, containerId } = await timed("pod up", async () => {
    const { podSandboxId } = await timed("RunPodSandbox", () => runPod(side, config));
    const { containerId } = await timed("CreateContainer", () =>
      create(side, { podSandboxId, sandboxConfig: config, image, command: stoppable }),
    );
    await timed("StartContainer", () =>
      call(side, "startContainer", StartContainerRequest.fromPartial({ containerId })),
    );
    return { podSandboxId, containerId };
  });
  for (let left = execsInRound; left > 0; left--) {
    const { exitCode } = await timed("ExecSync", () =>
      call(side, "execSync", ExecSyncRequest.fromPartial({ containerId, cmd: ["true"], timeout: 30n })),
    );
    if (exitCode !== 0) throw new Error(`${side.handler}: execSync: true ended with ${exitCode}`);
  }
  for (let left = execsInRound; left > 0; left--) await timed("exec, SPDY", () => execLatency(side, containerId));
  await timed("pod down", () => takeDown(side, podSandboxId));
  return samples;
}

async function takeDown(side: Side, podSandboxId: string): Promise<void> {
  await call(side, "stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId }));
  await call(side, "removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId }));
}

async function startPod(
  side: Side,
  image: string,
  config: PodSandboxConfig,
  command: string[],
): Promise<{ podSandboxId: string; containerId: string }> {
  const { podSandboxId } = await runPod(side, config);
  const { containerId } = await create(side, { podSandboxId, sandboxConfig: config, image, command });
  await call(side, "startContainer", StartContainerRequest.fromPartial({ containerId }));
  return { podSandboxId, containerId };
}

async function memoryOfPods(side: Side, image: string): Promise<HandlerMemory> {
  const beforeKiB = await settledMemAvailableKiB();
  const cgroupBeforeKiB = cgroupKiBOf(side);
  const ids: string[] = [];
  for (let index = 0; index < podCount; index++) {
    const { podSandboxId, containerId } = await startPod(side, image, podConfig(side, "handler-memory"), idleCommand);
    ids.push(podSandboxId, containerId);
  }
  const availableKiB = (beforeKiB - (await settledMemAvailableKiB())) / podCount;
  const cgroupKiB = (cgroupKiBOf(side) - cgroupBeforeKiB) / podCount;
  const pss = new Map<string, number>();
  for (const [pid, name] of podProcesses(ids)) pss.set(name, (pss.get(name) ?? 0) + pssKiB(pid) / podCount);
  await removePods(side.client, benchLabels);
  return { availableKiB, cgroupKiB, pssKiB: pss };
}

/** Without the daemon, whose heap grows and shrinks by more than a pod takes. */
function cgroupKiBOf({ cgroup, pid }: Side): number {
  return cgroup === undefined || pid === undefined ? Number.NaN : cgroup.memoryKiB() - pssKiB(pid);
}

/** How fast the log of a container grows when it writes as fast as it can. */
async function logSpeed(side: Side, image: string): Promise<number> {
  const config = podConfig(side, "handler-log");
  const { podSandboxId } = await startPod(side, image, config, ["yes", logLine]);
  const log = join(config.logDirectory, "main.log");
  await waitFor(() => statSync(log).size > 0, { message: `${side.handler}: nothing is in ${log}` });
  const [startedAtMs, startBytes] = [performance.now(), statSync(log).size];
  let [ms, bytes] = [0, 0];
  while (ms < logMs && bytes < logBytes) {
    await sleep(20, undefined, { signal: side.signal });
    bytes = statSync(log).size - startBytes;
    ms = performance.now() - startedAtMs;
  }
  await takeDown(side, podSandboxId);
  rmSync(log);
  return bytes / 1000 / ms;
}
