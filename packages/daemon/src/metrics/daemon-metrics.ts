import { monitorEventLoopDelay } from "node:perf_hooks";
import { TooManyRuns } from "@keelson/base/joined-calls.ts";
import { Metrics, type Sample } from "@keelson/base/metrics.ts";
import { codeName } from "@keelson/base/status.ts";
import { type CallObserver, TooManyCalls } from "@keelson/cri/server.ts";
import type { Deps } from "@keelson/engine/deps.ts";
import type { OperationRecord } from "@keelson/engine/operations.ts";
import type { Dropped, Tally } from "@keelson/engine/tally.ts";
import { readFiles } from "@keelson/linux/batch.ts";

const allDropped: readonly Dropped[] = ["calls", "operations", "exec_output", "events", "spans", "detached_pods"];

/** On x86-64. */
const pageBytes = 4096;

/** Buckets for call latencies, from a status to a slow pull. */
const callBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** The daemon's own metrics for Prometheus. Label values are only words of this program, never a client's. */
export class DaemonMetrics implements CallObserver, Tally {
  readonly #metrics = new Metrics();
  readonly #calls = this.#metrics.counter("keelson_calls_total", "CRI calls that ended, by gRPC code.", [
    "call",
    "code",
  ]);
  readonly #callSeconds = this.#metrics.histogram(
    "keelson_call_duration_seconds",
    "How long CRI calls took, successful or not.",
    ["call"],
    callBounds,
  );
  readonly #dropped = this.#metrics.counter(
    "keelson_dropped_total",
    "What was dropped or refused to stay within limits.",
    ["what"],
  );
  readonly #exits = this.#metrics.counter(
    "keelson_container_exits_total",
    "Containers whose end was recorded since keelsond started, by the reason in ContainerStatus.",
    ["reason"],
  );
  readonly #stageSeconds = this.#metrics.histogram(
    "keelson_stage_duration_seconds",
    "How long the stages of calls took.",
    ["call", "stage"],
    callBounds,
  );
  #callsInProgress = 0;

  constructor() {
    for (const what of allDropped) this.#dropped.add({ what }, 0);
    this.#metrics.gauge("keelson_calls_in_progress", "CRI calls under way.", [], () => [only(this.#callsInProgress)]);
    this.#metrics.gauge("process_resident_memory_bytes", "Memory of keelsond itself.", [], () => [
      only(process.memoryUsage.rss()),
    ]);
    this.#metrics.gauge("process_start_time_seconds", "When keelsond started, in seconds since 1970.", [], () => [
      only(Math.round(performance.timeOrigin / 1000)),
    ]);
  }

  started(): void {
    this.#callsInProgress += 1;
  }

  ended({ name, code, durationMs, error }: { name: string; code: number; durationMs: number; error: unknown }): void {
    this.#callsInProgress -= 1;
    this.#calls.add({ call: name, code: codeName(code) });
    this.#callSeconds.observe({ call: name }, durationMs / 1000);
    if (error instanceof TooManyCalls) this.dropped("calls");
    if (error instanceof TooManyRuns) this.dropped("operations");
  }

  operationEnded({ call, stages }: OperationRecord): void {
    for (const { name, startMs, endMs } of stages)
      this.#stageSeconds.observe({ call, stage: name }, (endMs - startMs) / 1000);
  }

  dropped(what: Dropped, count = 1): void {
    this.#dropped.add({ what }, count);
  }

  containerExited(reason: string): void {
    this.#exits.add({ reason });
  }

  /** Starts measuring how late the event loop is. Costs a timer, so it is only done when the metrics are served. */
  followEventLoop(): Disposable {
    const delay = monitorEventLoopDelay({ resolution: 20 });
    delay.enable();
    this.#metrics.gauge(
      "keelson_event_loop_delay_seconds",
      "How late the event loop was since this was last read. Calls wait that long.",
      ["quantile"],
      () => {
        const samples = ["0.5", "0.9", "0.99", "1"].map((quantile) => ({
          labels: { quantile },
          value: delay.percentile(Number(quantile) * 100) / 1e9,
        }));
        delay.reset();
        return samples;
      },
    );
    return { [Symbol.dispose]: () => void delay.disable() };
  }

  /** Adds metrics about the node, computed when they are read. */
  describe(d: Pick<Deps, "pods" | "containers" | "creations" | "stops" | "takedowns" | "podLock" | "puller">): void {
    this.#metrics.gauge("keelson_pods", "Pod sandboxes, by state.", ["state"], () => byState(d.pods.all()));
    this.#metrics.gauge("keelson_containers", "Containers, by state.", ["state"], () => byState(d.containers.all()));
    this.#metrics.gauge(
      "keelson_monitors_resident_memory_bytes",
      "Memory of the monitors (conmon) of all containers, with shared pages counted for each.",
      [],
      async () => [only(await residentBytes(monitorsOf(d)))],
    );
    this.#metrics.countedElsewhere(
      "keelson_image_pulled_bytes_total",
      "Compressed bytes of layers downloaded from registries.",
      [],
      () => [only(d.puller.receivedBytes)],
    );
    this.#metrics.gauge("keelson_pod_locks_held", "Pods that a call is changing.", [], () => [
      only([...d.podLock.held()].length),
    ]);
    this.#metrics.gauge("keelson_pod_lock_waiters", "Calls that wait for another call on the same pod.", [], () => [
      only([...d.podLock.held()].reduce((sum, { waiting }) => sum + waiting, 0)),
    ]);
    this.#metrics.gauge(
      "keelson_operations_in_progress",
      "Operations under way, including those whose client has disconnected.",
      ["kind"],
      () => [
        { labels: { kind: "creation" }, value: d.creations.size },
        { labels: { kind: "stop" }, value: d.stops.size },
        { labels: { kind: "takedown" }, value: d.takedowns.size },
        { labels: { kind: "pull" }, value: d.puller.pullsInProgress().length },
      ],
    );
  }

  /** In Prometheus' text format. */
  text(): Promise<string> {
    return this.#metrics.text();
  }

  families(): ReturnType<Metrics["families"]> {
    return this.#metrics.families();
  }
}

function monitorsOf(d: Pick<Deps, "containers">): number[] {
  return d.containers.all().flatMap(({ state }) => ("monitor" in state ? [state.monitor.pid] : []));
}

/** The resident memory of processes together (proc_pid_statm(5)); processes that are gone count as 0. */
async function residentBytes(pids: readonly number[]): Promise<number> {
  const texts = await readFiles(pids.map((pid) => `/proc/${pid}/statm`));
  return texts.reduce((sum, text) => sum + Number(text?.split(" ")[1] ?? 0) * pageBytes, 0);
}

function only(value: number): Sample<never> {
  return { labels: {}, value };
}

function* byState(records: readonly { state: { is: string } }[]): Iterable<Sample<"state">> {
  const counts = new Map<string, number>();
  for (const { state } of records) counts.set(state.is, (counts.get(state.is) ?? 0) + 1);
  for (const [state, value] of counts) yield { labels: { state }, value };
}
