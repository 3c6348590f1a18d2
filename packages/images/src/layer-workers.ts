import { Worker } from "node:worker_threads";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { Difference } from "./compare-layer.ts";
import type { LayerJob } from "./unpack/layer-job.ts";
import type { UnpackedLayer } from "./unpack/layer-writer.ts";

/** Messages to a worker thread. `id` names a job. */
export type ToWorker =
  | { is: "fetch"; id: number; job: LayerJob }
  | { is: "inherit"; id: number; job: InheritJob }
  | { is: "repair"; id: number; job: RepairJob }
  | { is: "abort"; id: number };

/** The results of jobs. */
export interface WorkerResult {
  fetch: UnpackedLayer;
  inherit: { manifestDigest: string };
  repair: Difference[];
}

/** Implicit directories of a layer, which get their attributes from the layers below. */
export interface InheritJob {
  /** The directory with the layer's files. */
  directory: string;
  manifestPath: string;
  /** Binary strings, parents first. */
  paths: string[];
  /** The directories of the layers below, uppermost first. */
  below: string[];
}

/** A damaged layer, and the same one fetched again. Both are directories with `diff` and `manifest`. */
export interface RepairJob {
  damaged: string;
  fresh: string;
}

export type FromWorker =
  | { is: "progress"; id: number; receivedBytes: number }
  | { is: "done"; id: number; result: WorkerResult[keyof WorkerResult] }
  | { is: "failed"; id: number; code: Code; message: string };

interface Job {
  resolve: (result: WorkerResult[keyof WorkerResult]) => void;
  reject: (error: Error) => void;
  progress: (receivedBytes: number) => void;
}

interface Member {
  worker: Worker;
  jobs: Map<number, Job>;
}

/** In a bundled daemon, the worker's program is beside the daemon's. */
const program = new URL(import.meta.url.endsWith(".ts") ? "./layer-worker.ts" : "./layer-worker.js", import.meta.url);

/** Chunks of layers become garbage at once: collecting often saves 70 MB at the peak and costs no processor time. */
const resourceLimits = { maxYoungGenerationSizeMb: 1 };

/**
 * The threads that fetch and unpack layers, so that the main thread is always free for calls. They are started when
 * there is work, and ended after some time without any, to free their memory.
 */
export class LayerWorkers {
  readonly #size: number;
  readonly #idleMs: number;
  #members: Member[] = [];
  #idleTimer: NodeJS.Timeout | undefined;
  #lastId = 0;

  /** `size`: the maximum number of threads. `idleMs`: how long they are kept without work. */
  constructor(size: number, idleMs = 15_000) {
    this.#size = size;
    this.#idleMs = idleMs;
  }

  /** Starts a thread in advance, as it takes some ten milliseconds to get ready. */
  warm(): void {
    if (this.#members.length === 0) this.#start();
    this.#rest();
  }

  /** Fetches and unpacks a layer (unpack/layer-job.ts). Rejects with the worker's error, or the signal's reason. */
  fetch(job: LayerJob, progress: (receivedBytes: number) => void, signal: AbortSignal): Promise<UnpackedLayer> {
    return this.#run<"fetch">((id) => ({ is: "fetch", id, job }), progress, signal);
  }

  /** Gives the implicit directories of an unpacked layer their attributes in the layers below (unpack/inherit.ts). */
  inherit(job: InheritJob, signal: AbortSignal): Promise<{ manifestDigest: string }> {
    return this.#run<"inherit">(
      (id) => ({ is: "inherit", id, job }),
      () => {},
      signal,
    );
  }

  /** Repairs a damaged layer from a fresh one, which is used up; resolves with what was wrong (repair-layer.ts). */
  repair(job: RepairJob, signal: AbortSignal): Promise<Difference[]> {
    return this.#run<"repair">(
      (id) => ({ is: "repair", id, job }),
      () => {},
      signal,
    );
  }

  /** Ends all threads; running jobs are rejected. */
  async close(): Promise<void> {
    clearTimeout(this.#idleTimer);
    const members = this.#members;
    this.#members = [];
    await Promise.all(members.map((member) => member.worker.terminate()));
  }

  async #run<K extends keyof WorkerResult>(
    message: (id: number) => ToWorker & { is: K },
    progress: (receivedBytes: number) => void,
    signal: AbortSignal,
  ): Promise<WorkerResult[K]> {
    signal.throwIfAborted();
    clearTimeout(this.#idleTimer);
    const id = (this.#lastId += 1);
    const member = this.#leastBusy();
    const abort = () => post(member, { is: "abort", id });
    try {
      return await new Promise((resolve, reject) => {
        // The result of a message has the message's kind.
        member.jobs.set(id, { resolve: (result) => resolve(result as WorkerResult[K]), reject, progress });
        signal.addEventListener("abort", abort, { once: true });
        member.worker.ref();
        post(member, message(id));
      });
    } catch (error) {
      // By now the thread has ended the job, so it does not interfere with the caller's cleanup.
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
      member.jobs.delete(id);
      this.#rest();
    }
  }

  #leastBusy(): Member {
    const idle = this.#members.find((member) => member.jobs.size === 0);
    if (idle !== undefined) return idle;
    if (this.#members.length < this.#size) return this.#start();
    return this.#members.reduce((a, b) => (b.jobs.size < a.jobs.size ? b : a));
  }

  #start(): Member {
    const member: Member = { worker: new Worker(program, { resourceLimits }), jobs: new Map() };
    member.worker.on("message", (message: FromWorker) => take(member, message));
    const end = (error: Error) => {
      this.#members = this.#members.filter((other) => other !== member);
      for (const job of member.jobs.values()) job.reject(error);
    };
    member.worker.on("error", (error) =>
      end(new StatusError(Code.Internal, `a worker thread ended: ${(error as Error).message}`, error)),
    );
    member.worker.on("exit", () => end(new StatusError(Code.Unavailable, "a worker thread was ended")));
    this.#members.push(member);
    return member;
  }

  #rest(): void {
    clearTimeout(this.#idleTimer);
    if (this.#members.some((member) => member.jobs.size > 0)) return;
    this.#idleTimer = setTimeout(() => void this.close(), this.#idleMs);
    // Neither the timer nor idle threads keep the process running.
    this.#idleTimer.unref();
    for (const member of this.#members) member.worker.unref();
  }
}

function post(member: Member, message: ToWorker): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for a browser's windows
  member.worker.postMessage(message);
}

function take(member: Member, message: FromWorker): void {
  const job = member.jobs.get(message.id);
  if (job === undefined) return;
  switch (message.is) {
    case "progress":
      return job.progress(message.receivedBytes);
    case "done":
      return job.resolve(message.result);
    case "failed":
      return job.reject(new StatusError(message.code, message.message));
  }
}
