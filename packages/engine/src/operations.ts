import { Code, codeName, codeOf, messageOf } from "@keelson/base/status.ts";

/** What an operation is about, so that it can be found again. */
export interface OperationSubject {
  /** The CRI call: `RunPodSandbox`. */
  call: string;
  /** What of: a pod's or container's name, or an image's. */
  name: string;
  /** CRI: PodSandboxMetadata.uid; the same for all attempts. */
  podUid: string;
  containerId?: string;
}

export interface StageTime {
  /** From a small set, the same for all operations of a call. */
  name: string;
  /** What it was busy with, each with its own time: `plugin bridge: ADD`. */
  details: { name: string; startMs: number; endMs: number }[];
  /** Since the operation began. */
  startMs: number;
  endMs: number;
}

/** An operation that has ended, or runs. */
export interface OperationRecord extends OperationSubject {
  /** ns since 1970. */
  startedAtNs: bigint;
  durationMs: number;
  /** Of gRPC, `Ok`; undefined while it runs. */
  code: string | undefined;
  error: string | undefined;
  stages: StageTime[];
}

export interface OperationsDeps {
  /** ns since 1970. */
  nowNs(): bigint;
  /** Of a clock that is never set, in ms. */
  nowMs(): number;
  /** Told of each that ends. `context` is what the client sent along, for whom spans belong to (W3C traceparent). */
  onEnd(record: OperationRecord, context: string | undefined): void;
}

/** How many ended operations are remembered: how some hundred pods came up. */
const maxRemembered = 2048;
/** More stages than any call has; a stop that tells what is left may have many. */
const maxDetails = 64;

/**
 * What the daemon does and did, with the time of each stage: for `keelctl trace`, metrics, spans
 * and dumps. Costs a few objects for each operation.
 */
export class Operations {
  readonly #d: OperationsDeps;
  readonly #running = new Set<Operation>();
  /** Oldest first. */
  readonly #ended: OperationRecord[] = [];

  constructor(deps: OperationsDeps) {
    this.#d = deps;
  }

  begin(subject: OperationSubject, context?: string): Operation {
    const operation = new Operation(subject, this.#d, (error) => {
      this.#running.delete(operation);
      const record = operation.record(error);
      this.#ended.push(record);
      if (this.#ended.length > maxRemembered) this.#ended.shift();
      this.#d.onEnd(record, context);
    });
    this.#running.add(operation);
    return operation;
  }

  /** What was and is done for a pod, by its uid, in the order of its beginning. */
  ofPod(podUid: string): OperationRecord[] {
    const found = [
      ...this.#ended.filter((o) => o.podUid === podUid),
      ...this.running().filter((o) => o.podUid === podUid),
    ];
    return found.sort((a, b) => Number(a.startedAtNs - b.startedAtNs));
  }

  /** What is under way. */
  running(): OperationRecord[] {
    return [...this.#running].map((operation) => operation.record());
  }
}

export class Operation {
  readonly #subject: OperationSubject;
  readonly #d: Pick<OperationsDeps, "nowMs">;
  readonly #onEnd: (error: unknown) => void;
  readonly #startedAtNs: bigint;
  readonly #startedMs: number;
  readonly #stages: StageTime[] = [];
  #endedMs: number | undefined;

  constructor(subject: OperationSubject, d: Pick<OperationsDeps, "nowMs" | "nowNs">, onEnd: (error: unknown) => void) {
    this.#subject = subject;
    this.#d = d;
    this.#onEnd = onEnd;
    this.#startedAtNs = d.nowNs();
    this.#startedMs = d.nowMs();
  }

  /** What it does from now on. */
  stage(name: string): void {
    const atMs = this.#elapsedMs();
    this.#close(atMs);
    this.#stages.push({ name, details: [], startMs: atMs, endMs: Number.NaN });
  }

  /** What it is busy with from now on, within the stage. */
  detail(name: string): void {
    const stage = this.#stages.at(-1);
    if (stage === undefined || stage.details.length >= maxDetails) return;
    const atMs = this.#elapsedMs();
    closeLast(stage.details, atMs);
    stage.details.push({ name, startMs: atMs, endMs: Number.NaN });
  }

  /** @param error what it failed with; undefined when it succeeded. */
  end(error?: unknown): void {
    if (this.#endedMs !== undefined) return;
    this.#endedMs = this.#elapsedMs();
    this.#close(this.#endedMs);
    this.#onEnd(error);
  }

  /** As it is now. */
  record(error?: unknown): OperationRecord {
    const nowMs = this.#endedMs ?? this.#elapsedMs();
    const until = <T extends { endMs: number }>(times: readonly T[]): T[] =>
      times.map((time) => ({ ...time, endMs: Number.isNaN(time.endMs) ? nowMs : time.endMs }));
    const ended = this.#endedMs !== undefined;
    return {
      ...this.#subject,
      startedAtNs: this.#startedAtNs,
      durationMs: nowMs,
      code: ended ? codeName(error === undefined ? Code.Ok : codeOf(error)) : undefined,
      error: error === undefined ? undefined : messageOf(error),
      stages: until(this.#stages).map((stage) => ({ ...stage, details: until(stage.details) })),
    };
  }

  #elapsedMs(): number {
    return this.#d.nowMs() - this.#startedMs;
  }

  #close(atMs: number): void {
    const last = this.#stages.at(-1);
    if (last !== undefined) closeLast(last.details, atMs);
    closeLast(this.#stages, atMs);
  }
}

function closeLast(times: readonly { endMs: number }[], atMs: number): void {
  const last = times.at(-1);
  if (last !== undefined && Number.isNaN(last.endMs)) last.endMs = atMs;
}
