import { Code, StatusError } from "@keelson/base/status.ts";
import { ContainerEventType } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RecordStore } from "@keelson/store/record-store.ts";
import type { ContainerRecord } from "./container-record.ts";
import type { PodRecord } from "./pod-record.ts";

const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT, CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } =
  ContainerEventType;

/** How many events may wait for a client; one that is further behind must list again anyway. */
const maxWaiting = 1000;

/** Something that happened to a pod (then `id` is the pod's) or to one of its containers. */
export interface PodEvent {
  type: ContainerEventType;
  id: string;
  atNs: bigint;
  /** As it was then; undefined when it is gone. */
  pod: PodRecord | undefined;
  /** All of the pod's containers that can be shown, as they were then. */
  containers: readonly ContainerRecord[];
}

export interface EventsDeps {
  readonly pods: RecordStore<PodRecord>;
  readonly containers: RecordStore<ContainerRecord>;
  nowNs(): bigint;
  /** Called when a client was too slow, with how many events it does not get. */
  onDropped(count: number): void;
}

/**
 * CRI: GetContainerEvents. What happens to pods and containers, in order, derived from the changes of their records:
 * whatever a list would show, an event has reported. Costs nothing while nobody listens.
 */
export class Events {
  readonly #d: EventsDeps;
  readonly #clients = new Set<Client>();

  constructor(deps: EventsDeps) {
    this.#d = deps;
    deps.pods.subscribe((before, after) => this.#podChanged(before, after));
    deps.containers.subscribe((before, after) => this.#containerChanged(before, after));
  }

  /**
   * Events for one client until its signal aborts. They begin with those that would have led to the present state, so
   * that a client that connects late, or again after a restart of the daemon, needs no list first. Throws
   * ResourceExhausted when the client is so slow that it would miss some: it must begin anew.
   */
  async *follow(signal: AbortSignal): AsyncGenerator<PodEvent> {
    const client = new Client(signal, this.#beginning());
    this.#clients.add(client);
    try {
      for (;;) yield await client.next();
    } finally {
      this.#clients.delete(client);
    }
  }

  #podChanged(before: PodRecord | undefined, after: PodRecord | undefined): void {
    if (this.#clients.size === 0) return;
    const [was, is] = [podPhase(before), podPhase(after)];
    const record = after ?? before;
    if (record === undefined || was === is) return;
    // A pod that exists is running: the CRI has no pod that was only created.
    if (was === undefined && is === "ready")
      this.#send([
        this.#event(CONTAINER_CREATED_EVENT, record.id, record),
        this.#event(CONTAINER_STARTED_EVENT, record.id, record),
      ]);
    if (was === "ready") this.#send([this.#event(CONTAINER_STOPPED_EVENT, record.id, after)]);
    if (was !== undefined && is === undefined) this.#send([this.#event(CONTAINER_DELETED_EVENT, record.id, after)]);
  }

  #containerChanged(before: ContainerRecord | undefined, after: ContainerRecord | undefined): void {
    if (this.#clients.size === 0) return;
    const record = after ?? before;
    if (record === undefined) return;
    const pod = this.#d.pods.get(record.podId);
    const types = typesBetween(before, after);
    this.#send(types.map((type) => this.#event(type, record.id, pod, record.podId)));
  }

  /** The events of each pod, then of each of its containers. */
  *#beginning(): Iterable<PodEvent> {
    const containers = Map.groupBy(this.#d.containers.all(), (c) => c.podId);
    for (const pod of this.#d.pods.all()) {
      const phase = podPhase(pod);
      if (phase === undefined) continue;
      yield this.#event(CONTAINER_CREATED_EVENT, pod.id, pod, pod.id, pod.createdAtNs);
      yield this.#event(CONTAINER_STARTED_EVENT, pod.id, pod, pod.id, pod.createdAtNs);
      for (const container of containers.get(pod.id) ?? []) {
        for (const type of typesBetween(undefined, container))
          yield this.#event(type, container.id, pod, pod.id, timeOf(type, container));
      }
      if (phase === "stopped") yield this.#event(CONTAINER_STOPPED_EVENT, pod.id, pod);
    }
  }

  #event(
    type: ContainerEventType,
    id: string,
    pod: PodRecord | undefined,
    podId = id,
    atNs = this.#d.nowNs(),
  ): PodEvent {
    return {
      type,
      id,
      atNs,
      pod,
      containers: this.#d.containers.all().filter((c) => c.podId === podId && c.state.is !== "creating"),
    };
  }

  #send(events: readonly PodEvent[]): void {
    for (const client of this.#clients) {
      const dropped = client.add(events);
      if (dropped > 0) this.#d.onDropped(dropped);
    }
  }
}

/** The events that wait for one client. */
class Client {
  readonly #signal: AbortSignal;
  /** The state when it connected; made as it is read. */
  readonly #beginning: Iterator<PodEvent>;
  readonly #waiting: PodEvent[] = [];
  #isTooSlow = false;
  #wake: (() => void) | undefined;

  constructor(signal: AbortSignal, beginning: Iterable<PodEvent>) {
    this.#signal = signal;
    this.#beginning = [...beginning][Symbol.iterator]();
    signal.addEventListener("abort", () => this.#wake?.(), { once: true });
  }

  /** Returns how many were dropped because too many wait already. */
  add(events: readonly PodEvent[]): number {
    if (this.#isTooSlow || this.#waiting.length + events.length > maxWaiting) {
      const dropped = events.length + this.#waiting.length;
      this.#isTooSlow = true;
      this.#waiting.length = 0;
      this.#wake?.();
      return dropped;
    }
    this.#waiting.push(...events);
    this.#wake?.();
    return 0;
  }

  async next(): Promise<PodEvent> {
    for (;;) {
      this.#signal.throwIfAborted();
      if (this.#isTooSlow)
        throw new StatusError(
          Code.ResourceExhausted,
          `more than ${maxWaiting} events waited for this client, which was too slow to read them; call GetContainerEvents again, it begins with the present state`,
        );
      const early = this.#beginning.next();
      if (early.done !== true) return early.value;
      const event = this.#waiting.shift();
      if (event !== undefined) return event;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }
}

/** How far a container is along created → started → stopped; undefined while it is not shown. */
function phasesOf(record: ContainerRecord | undefined): readonly ContainerEventType[] {
  switch (record?.state.is) {
    case undefined:
    case "creating":
      return [];
    case "created":
      return [CONTAINER_CREATED_EVENT];
    case "running":
      return [CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT];
    case "exited":
    case "unknown":
      return [
        CONTAINER_CREATED_EVENT,
        ...(hasStarted(record) ? [CONTAINER_STARTED_EVENT] : []),
        CONTAINER_STOPPED_EVENT,
      ];
    case "unreadable":
      return [
        CONTAINER_CREATED_EVENT,
        CONTAINER_STARTED_EVENT,
        ...(record.state.ended === undefined ? [] : [CONTAINER_STOPPED_EVENT]),
      ];
  }
}

function typesBetween(before: ContainerRecord | undefined, after: ContainerRecord | undefined): ContainerEventType[] {
  const known = phasesOf(before);
  if (after === undefined) return known.length === 0 ? [] : [CONTAINER_DELETED_EVENT];
  // One that ended before its start was recorded: its start is not reported any more.
  if (known.includes(CONTAINER_STOPPED_EVENT)) return [];
  return phasesOf(after).filter((type) => !known.includes(type));
}

function hasStarted(record: ContainerRecord | undefined): boolean {
  return record?.state.is === "exited" ? record.state.startedAtNs > 0n : record?.state.is === "unknown";
}

function timeOf(type: ContainerEventType, { createdAtNs, state }: ContainerRecord): bigint {
  if (type === CONTAINER_STARTED_EVENT && (state.is === "running" || state.is === "exited")) return state.startedAtNs;
  if (type === CONTAINER_STOPPED_EVENT && state.is === "exited") return state.finishedAtNs;
  return createdAtNs;
}

/** Undefined while it is not shown. */
function podPhase(record: PodRecord | undefined): "ready" | "stopped" | undefined {
  if (record === undefined || record.state.is === "creating") return undefined;
  return record.state.is === "ready" ? "ready" : "stopped";
}
