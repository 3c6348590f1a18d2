import { setTimeout as sleep } from "node:timers/promises";
import { Code } from "@keelson/base/status.ts";
import {
  ListContainersRequest,
  ListContainerStatsRequest,
  ListPodSandboxMetricsRequest,
  ListPodSandboxRequest,
  ListPodSandboxStatsRequest,
  RemovePodSandboxRequest,
  StartContainerRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { rssKiB } from "../process-memory.ts";
import { cpuOf } from "./process-cpu.ts";
import { RawClient } from "./raw-client.ts";
import { create, idleCommand, podConfig, runPod } from "./round.ts";
import { call, type Side } from "./side.ts";

/** Containers in each pod. */
const containersEach = 2;
/** Pods that are brought up or taken down at the same time. */
const atATime = 10;
/** How often each list is called in a turn, after some calls that are not counted; fewer when they take long. */
const mostCalls = 200;
const leastCalls = 3;
const turnMs = 3_000;
const warmupCalls = 3;
const callTimeoutMs = 60_000;
/** What a runtime still does after the last answer is counted too. */
const settleMs = 200;
/** A kubelet lists every second, and asks for stats every ten seconds. */
const listEveryMs = 1000;
const statsEvery = 10;

/** The measured lists, in their order. */
export const listNames = [
  "ListContainers",
  "ListPodSandbox",
  "ListContainerStats",
  "ListPodSandboxStats",
  "ListPodSandboxMetrics",
] as const;
export type ListName = (typeof listNames)[number];

/** Calls of one list, one after another. */
export interface ListTurn {
  readonly ms: readonly number[];
  /** The size of the answer. */
  readonly bytes: number;
  /** CPU time for each call in ms, of the daemon alone and of its whole side, with helpers; NaN when unknown. */
  readonly daemonMs: number;
  readonly sideMs: number;
}

/** What one side used while a client polled like a kubelet. */
export interface PollSample {
  readonly seconds: number;
  /** CPU time in ms per second, of the daemon alone and of its whole side; NaN when unknown. */
  readonly daemonMs: number;
  readonly sideMs: number;
  /** At the end; NaN when the daemon's process is not known. */
  readonly daemonRssKiB: number;
}

/** What lists cost one side while its containers run. */
export interface StatsSample {
  /** Turns by list; empty for a list that the runtime does not know. */
  readonly lists: ReadonlyMap<ListName, readonly ListTurn[]>;
  readonly containers: number;
  readonly poll: PollSample;
}

/** The pods of one side, with sleeping containers. */
export class StatsGround implements Disposable {
  readonly #side: Side;
  readonly #raw: RawClient;
  readonly #pods: string[] = [];
  readonly #lists = new Map<ListName, ListTurn[]>();
  #containers = 0;
  #poll: PollSample | undefined;

  constructor(side: Side) {
    this.#side = side;
    this.#raw = new RawClient(side.endpoint);
  }

  async bringUp(image: string, pods: number): Promise<void> {
    await inParallel(Array.from({ length: pods }), async () => {
      const config = podConfig(this.#side, "stats");
      const { podSandboxId } = await runPod(this.#side, config);
      this.#pods.push(podSandboxId);
      for (let index = 0; index < containersEach; index++) {
        const { containerId } = await create(this.#side, {
          podSandboxId,
          sandboxConfig: config,
          image,
          command: idleCommand,
          name: `main-${index}`,
        });
        await call(this.#side, "startContainer", StartContainerRequest.fromPartial({ containerId }));
        this.#containers += 1;
      }
    });
  }

  /** Calls each list a number of times. */
  async turn(): Promise<void> {
    for (const name of listNames) {
      const turn = await this.#turnOf(name);
      if (turn !== undefined) this.#lists.set(name, [...(this.#lists.get(name) ?? []), turn]);
    }
  }

  /** Polls like a kubelet for this long. */
  async poll(seconds: number): Promise<void> {
    const { pid, signal } = this.#side;
    const before = cpuOf(this.#side);
    const startedAtMs = performance.now();
    for (let second = 0; second < seconds; second++) {
      await sleep(Math.max(0, startedAtMs + second * listEveryMs - performance.now()), undefined, { signal });
      await this.#ask("ListPodSandbox");
      await this.#ask("ListContainers");
      if (second % statsEvery === 0) await this.#ask("ListContainerStats");
    }
    await sleep(Math.max(0, startedAtMs + seconds * listEveryMs - performance.now()), undefined, { signal });
    const took = (performance.now() - startedAtMs) / 1000;
    const after = cpuOf(this.#side);
    const daemonRssKiB = pid === undefined ? Number.NaN : rssKiB(pid);
    this.#poll = {
      seconds: took,
      daemonMs: (after.daemonMs - before.daemonMs) / took,
      sideMs: (after.sideMs - before.sideMs) / took,
      daemonRssKiB,
    };
  }

  async takeDown(): Promise<void> {
    await inParallel(this.#pods.splice(0), async (podSandboxId) => {
      await call(this.#side, "stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId }));
      await call(this.#side, "removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId }));
    });
  }

  /** The result; after `poll`. */
  sample(): StatsSample {
    if (this.#poll === undefined) throw new Error(`${this.#side.name}: it was not polled yet`);
    return { lists: this.#lists, containers: this.#containers, poll: this.#poll };
  }

  [Symbol.dispose](): void {
    this.#raw[Symbol.dispose]();
  }

  async #turnOf(name: ListName): Promise<ListTurn | undefined> {
    const { signal } = this.#side;
    try {
      const endMs = performance.now() + turnMs;
      for (let index = 0; index < warmupCalls && performance.now() < endMs; index++) await this.#ask(name);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === Code.Unimplemented) return undefined;
      throw error;
    }
    await sleep(settleMs, undefined, { signal });
    const before = cpuOf(this.#side);
    const endMs = performance.now() + turnMs;
    const ms: number[] = [];
    let bytes = 0;
    while (ms.length < leastCalls || (ms.length < mostCalls && performance.now() < endMs)) {
      signal.throwIfAborted();
      const sentAtMs = performance.now();
      bytes = await this.#ask(name);
      ms.push(performance.now() - sentAtMs);
    }
    await sleep(settleMs, undefined, { signal });
    const after = cpuOf(this.#side);
    return {
      ms,
      bytes,
      daemonMs: (after.daemonMs - before.daemonMs) / ms.length,
      sideMs: (after.sideMs - before.sideMs) / ms.length,
    };
  }

  async #ask(name: ListName): Promise<number> {
    const raw = this.#raw;
    const asks: Record<ListName, () => Promise<number>> = {
      ListContainers: () => raw.answerBytes("listContainers", ListContainersRequest.fromPartial({}), callTimeoutMs),
      ListPodSandbox: () => raw.answerBytes("listPodSandbox", ListPodSandboxRequest.fromPartial({}), callTimeoutMs),
      ListContainerStats: () =>
        raw.answerBytes("listContainerStats", ListContainerStatsRequest.fromPartial({}), callTimeoutMs),
      ListPodSandboxStats: () =>
        raw.answerBytes("listPodSandboxStats", ListPodSandboxStatsRequest.fromPartial({}), callTimeoutMs),
      ListPodSandboxMetrics: () =>
        raw.answerBytes("listPodSandboxMetrics", ListPodSandboxMetricsRequest.fromPartial({}), callTimeoutMs),
    };
    return await asks[name]();
  }
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  const worker = async () => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}
