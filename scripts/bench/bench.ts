import { busyboxImage, type Image, randomImage } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { type ExecSample, measureExecs } from "./execs.ts";
import { type HandlersSample, measureHandlers } from "./handlers.ts";
import { type HungSample, measureHung } from "./hung.ts";
import { measureMemory, type MemorySample } from "./memory.ts";
import { openSides } from "./open-sides.ts";
import type { BenchOptions } from "./options.ts";
import type { SideResult } from "./report.ts";
import { measure, pull, runRound, type Sample } from "./round.ts";
import type { Side } from "./side.ts";
import { StatsGround, type StatsSample } from "./stats.ts";
import { measureStreams, type StreamSample } from "./streams.ts";

const warmupRounds = 3;
const memoryTurns = 3;
const largeRounds = 3;
const execTurns = 3;
const statsTurns = 3;
const streamTurns = 3;

/** One or two sides, which are measured in turns. */
export class Bench implements AsyncDisposable {
  readonly sides: readonly Side[];
  readonly #dir: string;
  readonly #options: BenchOptions;
  readonly #registry: Registry;
  readonly #runImage: string;
  readonly #pullImage: string;
  readonly #undo: AsyncDisposableStack;
  readonly #samples = new Map<Side, Map<string, Sample[]>>();
  readonly #memory = new Map<Side, MemorySample[]>();
  readonly #execs = new Map<Side, ExecSample[]>();
  readonly #stats = new Map<Side, StatsSample>();
  readonly #streams = new Map<Side, StreamSample[]>();
  readonly #handlers = new Map<Side, HandlersSample>();
  readonly #hung = new Map<Side, HungSample>();

  private constructor(
    dir: string,
    sides: readonly Side[],
    options: BenchOptions,
    registry: Registry,
    undo: AsyncDisposableStack,
  ) {
    this.#dir = dir;
    this.sides = sides;
    this.#options = options;
    this.#registry = registry;
    this.#undo = undo;
    this.#runImage = registry.add("bench/busybox", "latest", busyboxImage());
    // gzip shrinks it to two thirds.
    this.#pullImage = registry.add("bench/small", "latest", randomImage({ bytes: 1.5 * 2 ** 20 }));
    for (const side of sides) {
      this.#samples.set(side, new Map());
      this.#memory.set(side, []);
      this.#execs.set(side, []);
      this.#streams.set(side, []);
    }
  }

  /** Starts the registry and the sides in `dir`. */
  static async open(dir: string, options: BenchOptions, signal: AbortSignal): Promise<Bench> {
    await using undo = new AsyncDisposableStack();
    const registry = undo.use(await Registry.start());
    const sides = await openSides({ dir, registry, options, signal, undo });
    return new Bench(dir, sides, options, registry, undo.move());
  }

  /** Measures everything that was requested; `progress` gets what comes next. */
  async run(progress: (text: string) => void): Promise<void> {
    const { rounds, only, pods, large } = this.#options;
    const images = { run: this.#runImage, pull: this.#pullImage };
    for (const side of this.sides) await pull(side, images.run);
    for (let round = -warmupRounds; round < rounds; round++) {
      progress(round < 0 ? "warming up" : `round ${round + 1} of ${rounds}`);
      for (const side of this.#turn(round)) {
        const fetched = this.#blobsServed("bench/small");
        const samples = await runRound(side, images, only);
        if (samples.has("PullImage") && this.#blobsServed("bench/small") < fetched + 2) throw pulledNothing(side);
        if (round >= 0) this.#addRound(side, samples);
      }
    }
    if (only.has("execs")) {
      for (let turn = 0; turn < execTurns; turn++) {
        for (const side of this.#turn(turn)) {
          progress(`execs on ${side.name}, turn ${turn + 1} of ${execTurns}`);
          this.#execs.get(side)?.push(await measureExecs(side, images.run));
        }
      }
    }
    if (only.has("memory")) {
      for (let turn = 0; turn < memoryTurns; turn++) {
        for (const side of this.#turn(turn)) {
          progress(`memory of ${pods} pods on ${side.name}, turn ${turn + 1} of ${memoryTurns}`);
          const sample = await measureMemory(side, images.run, pods);
          this.#memory.get(side)?.push(sample);
          for (const list of sample.listContainers) this.#add(side, `ListContainers, ${pods} pods`, list);
          for (const list of sample.listPodSandbox) this.#add(side, `ListPodSandbox, ${pods} pods`, list);
        }
      }
    }
    if (only.has("stats")) await this.#measureStats(images.run, progress);
    if (only.has("streams")) {
      for (let turn = 0; turn < streamTurns; turn++) {
        for (const side of this.#turn(turn))
          this.#streams.get(side)?.push(await measureStreams(side, images.run, progress));
      }
    }
    const [ours] = this.sides;
    if (only.has("handlers") && ours !== undefined)
      this.#handlers.set(ours, await measureHandlers(ours, images.run, progress));
    if (large) await this.#pullLarge(progress);
    if (only.has("hung")) {
      // Last, because what it leaves would disturb the others.
      for (const side of this.sides.filter(({ plugins }) => plugins !== undefined)) {
        progress(`bringing up pods that will hang on ${side.name}`);
        this.#hung.set(side, await measureHung(side, images.run, this.#dir, progress));
      }
    }
  }

  results(): SideResult[] {
    return this.sides.map((side) => ({
      name: side.name,
      runs: side.runs,
      samples: this.#samples.get(side) ?? new Map<string, Sample[]>(),
      memory: this.#memory.get(side) ?? [],
      execs: this.#execs.get(side) ?? [],
      stats: this.#stats.get(side),
      streams: this.#streams.get(side) ?? [],
      handlers: this.#handlers.get(side),
      hung: this.#hung.get(side),
    }));
  }

  /** Ends the daemons and removes all that the bench created, also on a peer that keeps running. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo.disposeAsync();
  }

  /** The order alternates, because the second one finds warm caches and the remains of the first. */
  #turn(round: number): readonly Side[] {
    return round % 2 === 0 ? this.sides : this.sides.toReversed();
  }

  /** All sides have their containers at the same time, so that the machine is equally busy for them. */
  async #measureStats(image: string, progress: (text: string) => void): Promise<void> {
    using stack = new DisposableStack();
    const grounds = new Map(this.sides.map((side) => [side, stack.use(new StatsGround(side))]));
    const of = (side: Side) => grounds.get(side) as StatsGround;
    for (const side of this.sides) {
      progress(`bringing up ${this.#options.statsPods} pods for lists and stats on ${side.name}`);
      await of(side).bringUp(image, this.#options.statsPods);
    }
    for (let turn = 0; turn < statsTurns; turn++) {
      for (const side of this.#turn(turn)) {
        progress(`lists and stats on ${side.name}, turn ${turn + 1} of ${statsTurns}`);
        await of(side).turn();
      }
    }
    progress(`polling like a kubelet for ${this.#options.pollSeconds} s`);
    await Promise.all(this.sides.map((side) => of(side).poll(this.#options.pollSeconds)));
    for (const side of this.sides) {
      progress(`taking down the pods on ${side.name}`);
      this.#stats.set(side, of(side).sample());
      await of(side).takeDown();
    }
  }

  /**
   * A new image for each round, none removed before the end: ext4 creates files slowly where many were just deleted.
   */
  async #pullLarge(progress: (text: string) => void): Promise<void> {
    for (let round = 0; round < largeRounds; round++) {
      progress(`making large image ${round + 1} of ${largeRounds}`);
      const reference = this.#registry.add("bench/large", `round-${round}`, largeImage(round + 1));
      for (const side of this.#turn(round)) {
        progress(`pulling the large image on ${side.name}, ${round + 1} of ${largeRounds}`);
        const fetched = this.#blobsServed("bench/large");
        const { sample } = await measure(side, () => pull(side, reference));
        if (this.#blobsServed("bench/large") < fetched + 11) throw pulledNothing(side);
        this.#add(side, "PullImage, 400 MB", sample);
      }
    }
  }

  #blobsServed(repository: string): number {
    return this.#registry.count({ method: "GET", pathIncludes: `/${repository}/blobs/` });
  }

  #addRound(side: Side, samples: ReadonlyMap<string, Sample>): void {
    for (const [name, sample] of samples) this.#add(side, name, sample);
    const parts = ["RunPodSandbox", "CreateContainer", "StartContainer"].map((name) => samples.get(name));
    const sum = (pick: (sample: Sample) => number) =>
      parts.reduce((total, sample) => total + (sample === undefined ? Number.NaN : pick(sample)), 0);
    if (!parts.includes(undefined))
      this.#add(side, "pod up", { ms: sum(({ ms }) => ms), cpuMs: sum(({ cpuMs }) => cpuMs) });
  }

  #add(side: Side, name: string, sample: Sample): void {
    const all = this.#samples.get(side);
    const list = all?.get(name);
    if (list === undefined) all?.set(name, [sample]);
    else list.push(sample);
  }
}

/** A pull is only compared if its config and layers really came over the wire. */
function pulledNothing({ name }: Side): Error {
  return new Error(`${name} still had the layers of an image that was removed: its pull cannot be compared`);
}

/** 10 layers, 400 MB and 21,000 files. */
function largeImage(seed: number): Image {
  return randomImage({ seed, layers: 10, files: 2100, bytes: 40_000_000 });
}
