import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "@keelson/base/status.ts";
import {
  ContainerStatusRequest,
  ImageStatusRequest,
  ListContainersRequest,
  ListImagesRequest,
  ListPodSandboxRequest,
  PodSandboxStatusRequest,
  RemovePodSandboxRequest,
  StatusRequest,
  StopPodSandboxRequest,
  VersionRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { DeadMount } from "@keelson/testkit/dead-mount.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import {
  type Attempt,
  deadMounts,
  frozenCgroups,
  type Hang,
  type Running,
  runContainer,
  sleepingPlugins,
  stoppedMonitors,
  stoppedProcesses,
} from "./hangs.ts";
import { call, type Side } from "./side.ts";

/** Pods or containers for each kind of hang. */
const each = 5;
/** How often each call is made. */
const rounds = 500;
const warmupRounds = 50;
const pauseMs = 20;
/** A call that takes longer counts as this long. */
const callTimeoutMs = 5_000;
/** The calls end after this time, however many there have been. */
const measureTimeoutMs = 90_000;
const retryMs = 1_000;
/** The calls on what hangs start one after another, like a kubelet's probes. */
const betweenAttemptsMs = 30;
/** How long the calls may take to end once nothing hangs any more. */
const settleTimeoutMs = 60_000;

/** The times of calls, in ms, by name. */
export type Times = ReadonlyMap<string, readonly number[]>;

/** How fast a side answers while some of its pods and containers hang. */
export interface HungSample {
  /** While all of them work. */
  readonly calm: Times;
  readonly hung: Times;
  /** How many hung when the last call was answered, by kind. */
  readonly hangs: readonly { readonly what: string; readonly count: number; readonly of: number }[];
  /** Calls on what hung: how many were made, and how many were unanswered at the end of the measurement. */
  readonly attempts: number;
  readonly waiting: number;
  /** What could not be taken down afterwards. */
  readonly left: readonly string[];
}

/** Brings up pods, makes them hang, measures lists and statuses meanwhile, then releases them and takes them down. */
export async function measureHung(
  side: Side,
  image: string,
  dir: string,
  progress: (text: string) => void,
): Promise<HungSample> {
  using mount = DeadMount.open(join(dir, side.name, "dead-mount"));
  const containers: Running[] = [];
  for (let index = 0; index < 3 * each; index++)
    containers.push(await runContainer(side, image, index < 2 * each ? undefined : mount));
  const pods = containers.map(({ podSandboxId }) => podSandboxId);
  await measureCalls(side, image, containers, warmupRounds);
  const calm = await measureCalls(side, image, containers, rounds);

  const [monitored, frozen, mounted] = [
    containers.slice(0, each),
    containers.slice(each, 2 * each),
    containers.slice(2 * each),
  ];
  const hangs = [
    stoppedMonitors(side, monitored),
    sleepingPlugins(side, each),
    frozenCgroups(side, frozen),
    mount === undefined ? stoppedProcesses(side, mounted) : deadMounts(side, mounted, image, mount),
  ];
  await using attempts = new Attempts();
  using ends = new DisposableStack();
  for (const hang of hangs) {
    ends.defer(() => hang.end());
    hang.begin();
    for (const attempt of hang.attempts) attempts.add(attempt);
  }
  progress(`${4 * each} pods and containers hang on ${side.name}`);
  await waitFor(() => hangs.every((hang) => hang.count() === each), {
    message: () => `${side.name}: ${describe(hangs)}`,
  });
  const hung = await measureCalls(side, image, containers, rounds);
  const counts = hangs.map((hang) => ({ what: hang.what, count: hang.count(), of: each }));
  const { made, waiting } = attempts;
  progress(`releasing what hangs on ${side.name}`);
  ends.dispose();
  await attempts.end();
  return { calm, hung, hangs: counts, attempts: made, waiting, left: await takeDown(side, pods) };
}

function describe(hangs: readonly Hang[]): string {
  return hangs.map((hang) => `${hang.what}: ${hang.count()} of ${each}`).join("; ");
}

/** Makes the calls in turns, for each pod and container in turn. A call that fails is an error; a late one is not. */
async function measureCalls(side: Side, image: string, containers: readonly Running[], count: number): Promise<Times> {
  const times = new Map<string, number[]>();
  const end = performance.now() + measureTimeoutMs;
  for (let round = 0; round < count && performance.now() < end; round++) {
    const { podSandboxId, containerId } = containers[round % containers.length] as Running;
    const calls = {
      Version: () => call(side, "version", VersionRequest.fromPartial({}), callTimeoutMs),
      Status: () => call(side, "status", StatusRequest.fromPartial({}), callTimeoutMs),
      ListPodSandbox: () => call(side, "listPodSandbox", ListPodSandboxRequest.fromPartial({}), callTimeoutMs),
      PodSandboxStatus: () =>
        call(side, "podSandboxStatus", PodSandboxStatusRequest.fromPartial({ podSandboxId }), callTimeoutMs),
      ListContainers: () => call(side, "listContainers", ListContainersRequest.fromPartial({}), callTimeoutMs),
      ContainerStatus: () =>
        call(side, "containerStatus", ContainerStatusRequest.fromPartial({ containerId }), callTimeoutMs),
      ListImages: () => call(side, "listImages", ListImagesRequest.fromPartial({}), callTimeoutMs),
      ImageStatus: () => call(side, "imageStatus", ImageStatusRequest.fromPartial({ image: { image } }), callTimeoutMs),
    };
    for (const [name, make] of Object.entries(calls)) {
      const startedAtMs = performance.now();
      try {
        await make();
      } catch (error) {
        if (performance.now() - startedAtMs < callTimeoutMs) throw error;
      }
      const list = times.get(name) ?? [];
      list.push(performance.now() - startedAtMs);
      times.set(name, list);
    }
    await sleep(pauseMs, undefined, { signal: side.signal });
  }
  return times;
}

/** Calls that are repeated, a second after they have ended, until `end`. Their results do not matter. */
class Attempts implements AsyncDisposable {
  readonly #noMore = new AbortController();
  readonly #giveUp = new AbortController();
  readonly #loops: Promise<void>[] = [];
  made = 0;
  waiting = 0;

  add(attempt: Attempt): void {
    this.#loops.push(this.#repeat(attempt, this.#loops.length * betweenAttemptsMs));
  }

  /** Waits for the running calls; those that take too long are cancelled. */
  async end(): Promise<void> {
    this.#noMore.abort();
    const timer = setTimeout(() => this.#giveUp.abort(), settleTimeoutMs);
    await Promise.all(this.#loops);
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  async #repeat(attempt: Attempt, delayMs: number): Promise<void> {
    const { signal } = this.#noMore;
    await sleep(delayMs, undefined, { signal }).catch(() => undefined);
    while (!signal.aborted) {
      this.made++;
      this.waiting++;
      try {
        await attempt(this.#giveUp.signal);
      } catch {
        // A kubelet would try again as well.
      }
      this.waiting--;
      await sleep(retryMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/**
 * Takes down all at once, because a pod that still hangs must not delay others. Returns what could not be taken down.
 */
async function takeDown(side: Side, pods: readonly string[]): Promise<string[]> {
  const results = await Promise.allSettled(
    pods.map(async (podSandboxId) => {
      await call(side, "stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId }));
      await call(side, "removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId }));
    }),
  );
  return results.flatMap((result) => (result.status === "rejected" ? [messageOf(result.reason)] : []));
}
