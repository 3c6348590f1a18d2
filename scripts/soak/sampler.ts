import { once } from "node:events";
import { closeSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import {
  ContainerState,
  ListContainersRequest,
  ListPodSandboxRequest,
  PodSandboxState,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Caller } from "./caller.ts";
import { usageOf } from "./daemon-usage.ts";
import { type Inventory, type Known, unowned } from "./inventory.ts";
import type { MemorySample } from "./memory-trend.ts";
import type { SoakNode } from "./soak-node.ts";

const intervalMs = 10_000;
const memoryIntervalMs = 1000;

/** The calls with their own columns. */
const columns = [
  "runPodSandbox",
  "stopPodSandbox",
  "removePodSandbox",
  "podSandboxStatus",
  "listPodSandbox",
  "createContainer",
  "startContainer",
  "stopContainer",
  "removeContainer",
  "containerStatus",
  "listContainers",
  "execSync",
  "reopenContainerLog",
  "pullImage",
  "removeImage",
  "imageStatus",
  "listImages",
  "status",
] as const;

/** Takes a sample of everything every 10 s, and writes a line of CSV. */
export class Sampler implements AsyncDisposable {
  /** The daemon's memory, every second. */
  readonly memory: MemorySample[] = [];
  /** Things without an owner at two samples in a row, with the time when that was first seen. */
  readonly leaks = new Map<string, Date>();
  readonly #node: SoakNode;
  readonly #caller: Caller;
  readonly #worker = new Worker(new URL("./inventory-thread.ts", import.meta.url));
  readonly #csv: number | undefined;
  readonly #startedAtMs = performance.now();
  readonly #kills: () => number;
  #suspects = new Set<string>();

  constructor(node: SoakNode, caller: Caller, csv: string | undefined, kills: () => number) {
    this.#node = node;
    this.#caller = caller;
    this.#kills = kills;
    this.#csv = csv === undefined ? undefined : openSync(csv, "w");
    this.#write([
      "seconds",
      "calls_per_s",
      "failed",
      "cut_off",
      "clients_left",
      "kills",
      "rss_kib",
      "fds",
      "threads",
      "pods",
      "containers",
      "conmons",
      "mounts",
      "netns",
      "cgroups",
      "interfaces",
      "cni_allocations",
      "leaked",
      ...columns.flatMap((name) => [`${name}_p50_ms`, `${name}_p99_ms`]),
    ]);
  }

  /** Runs until the signal aborts. `progress` gets each line. */
  async run(signal: AbortSignal, progress: (text: string) => void): Promise<void> {
    await Promise.all([this.#watchMemory(signal), this.#watchAll(signal, progress)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#csv !== undefined) closeSync(this.#csv);
    await this.#worker.terminate();
  }

  async #watchMemory(signal: AbortSignal): Promise<void> {
    while (await pause(memoryIntervalMs, signal)) {
      const life = this.#node.lifeNow;
      const usage = life === undefined ? undefined : usageOf(life.daemon.pid);
      if (life === undefined || usage === undefined || usage.rssKiB === 0) continue;
      this.memory.push({ life: life.number, ageMs: performance.now() - life.startedAtMs, rssKiB: usage.rssKiB });
    }
  }

  async #watchAll(signal: AbortSignal, progress: (text: string) => void): Promise<void> {
    const { ledger } = this.#caller;
    let lastMs = performance.now();
    while (await pause(intervalMs, signal)) {
      const before = await this.#list();
      const inventory = await this.#takeInventory();
      const after = await this.#list();
      const leaked = this.#leakedNow(inventory, join(before, after));
      const nowMs = performance.now();
      const interval = ledger.takeInterval();
      const calls = [...interval.values()].reduce((sum, { count }) => sum + count, 0);
      const perSecond = (calls * 1000) / (nowMs - lastMs);
      lastMs = nowMs;
      const { daemon } = await this.#node.life();
      const { rssKiB = 0, fds = 0, threads = 0 } = usageOf(daemon.pid) ?? {};
      const { conmons, mounts, networkNamespaces, cgroups, interfaces, addresses } = inventory;
      const seconds = Math.round((nowMs - this.#startedAtMs) / 1000);
      this.#write([
        seconds,
        perSecond.toFixed(1),
        ledger.failed,
        ledger.cut,
        ledger.left,
        this.#kills(),
        rssKiB,
        fds,
        threads,
        after.readyPods.size,
        after.containers.size,
        conmons,
        mounts,
        networkNamespaces,
        cgroups,
        interfaces,
        addresses,
        leaked,
        ...columns.flatMap((name) =>
          [0.5, 0.99].map((fraction) => interval.get(name)?.quantile(fraction).toFixed(1) ?? ""),
        ),
      ]);
      const size = `${after.readyPods.size} pods, ${after.containers.size} containers`;
      progress(
        `${seconds} s: ${perSecond.toFixed(0)} calls/s, ${size}, ${(rssKiB / 1024).toFixed(0)} MiB, ${fds} fds, ${leaked} leaked, ${ledger.failed} failed, ${this.#kills()} kills`,
      );
    }
  }

  /**
   * Counts things without an owner now and at the previous sample: things may appear before their owner is listed, and
   * go after it.
   */
  #leakedNow(inventory: Inventory, known: Known): number {
    const suspects = unowned(inventory.things, known);
    const leaked = suspects.filter((thing) => this.#suspects.has(thing));
    this.#suspects = new Set(suspects);
    for (const thing of leaked) {
      if (this.leaks.has(thing)) continue;
      this.leaks.set(thing, new Date());
      console.log(`  ✖ ${new Date().toISOString()} leaked: ${thing}`);
    }
    return leaked.length;
  }

  async #list(): Promise<Known> {
    const { items } = await this.#caller.call("listPodSandbox", ListPodSandboxRequest.fromPartial({}));
    const { containers } = await this.#caller.call("listContainers", ListContainersRequest.fromPartial({}));
    const isLive = (state: ContainerState) =>
      state === ContainerState.CONTAINER_CREATED || state === ContainerState.CONTAINER_RUNNING;
    return {
      readyPods: new Set(items.filter(({ state }) => state === PodSandboxState.SANDBOX_READY).map(({ id }) => id)),
      containers: new Set(containers.map(({ id }) => id)),
      liveContainers: new Set(containers.filter(({ state }) => isLive(state)).map(({ id }) => id)),
    };
  }

  async #takeInventory(): Promise<Inventory> {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
    this.#worker.postMessage(this.#node.dir);
    const [inventory] = (await once(this.#worker, "message")) as [Inventory];
    return inventory;
  }

  #write(cells: readonly (string | number)[]): void {
    if (this.#csv !== undefined) writeSync(this.#csv, `${cells.join(",")}\n`);
  }
}

/** What is known at either of two moments. */
function join(a: Known, b: Known): Known {
  return {
    readyPods: a.readyPods.union(b.readyPods),
    containers: a.containers.union(b.containers),
    liveContainers: a.liveContainers.union(b.liveContainers),
  };
}

/** Waits. False when the signal aborted first. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal });
    return true;
  } catch {
    return false;
  }
}
