import { Code, codeName, codeOf, messageOf } from "@keelson/base/status.ts";

/** What an operation is about, for looking it up. */
export interface OperationSubject {
  /** The CRI call: `RunPodSandbox`. */
  call: string;
  /** The name of the pod, container or image. */
  name: string;
  /** CRI: PodSandboxMetadata.uid, the same for all attempts. */
  podUid: string;
  containerId?: string;
}

export interface StageTime {
  /** From a small set for each call. */
  name: string;
  /** What the stage was busy with, each with its own times: `plugin bridge: ADD`. */
  details: { name: string; startMs: number; endMs: number }[];
  /** ms since the operation began. */
  startMs: number;
  endMs: number;
}

/** An operation that has ended or is under way. */
export interface OperationRecord extends OperationSubject {
  /** ns since 1970. */
  startedAtNs: bigint;
  durationMs: number;
  /** The gRPC code, such as `Ok`; undefined while it runs. */
  code: string | undefined;
  error: string | undefined;
  stages: StageTime[];
}

export interface OperationsDeps {
  /** ns since 1970. */
  nowNs(): bigint;
  /** From a monotonic clock, in ms. */
  nowMs(): number;
  /** Called for each operation that ends. `context` is the W3C traceparent that its client sent. */
  onEnd(record: OperationRecord, context: string | undefined): void;
}

/** How many ended operations are remembered: enough for the start of a few hundred pods. */
const maxRemembered = 2048;
/** How many details of a stage are kept: a stop that lists what is left may have many. */
const maxDetails = 64;

/**
 * What the daemon is doing and has done, with the times of each stage, for `keelctl trace`, metrics, spans and dumps.
 * Costs a few objects for each operation.
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

  /** All operations for a pod, by its uid, ordered by their start. */
  ofPod(podUid: string): OperationRecord[] {
    const found = [
      ...this.#ended.filter((o) => o.podUid === podUid),
      ...this.running().filter((o) => o.podUid === podUid),
    ];
    return found.sort((a, b) => Number(a.startedAtNs - b.startedAtNs));
  }

  /** The operations under way. */
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

  /** Begins a stage, which ends the one before. */
  stage(name: string): void {
    const atMs = this.#elapsedMs();
    this.#close(atMs);
    this.#stages.push({ name, details: [], startMs: atMs, endMs: Number.NaN });
  }

  /** Begins a detail of the current stage. */
  detail(name: string): void {
    const stage = this.#stages.at(-1);
    if (stage === undefined || stage.details.length >= maxDetails) return;
    const atMs = this.#elapsedMs();
    closeLast(stage.details, atMs);
    stage.details.push({ name, startMs: atMs, endMs: Number.NaN });
  }

  /** @param error why it failed; undefined when it succeeded. */
  end(error?: unknown): void {
    if (this.#endedMs !== undefined) return;
    this.#endedMs = this.#elapsedMs();
    this.#close(this.#endedMs);
    this.#onEnd(error);
  }

  /** Its record as of now. */
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
