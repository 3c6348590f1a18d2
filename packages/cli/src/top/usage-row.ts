import type {
  Container,
  ContainerStats,
  CpuUsage,
  MemoryUsage,
  PodSandbox,
  PodSandboxStats,
  PsiStats,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { cpuPercent } from "../stats/cpu-percent.ts";

/** What a runtime reports at one time. */
export interface UsageSample {
  /** ms of a monotonic clock. */
  readonly atMs: number;
  /** The running ones. */
  readonly containers: readonly Container[];
  readonly pods: readonly PodSandbox[];
  readonly containerStats: readonly ContainerStats[];
  readonly podStats: readonly PodSandboxStats[];
  /** Bytes read from and written to disks so far, by container; undefined where the runtime has no metrics. */
  readonly ioBytes: ReadonlyMap<string, number> | undefined;
}

/** What a container uses. Undefined is what the runtime does not report, or not yet. */
export interface UsageRow {
  readonly id: string;
  readonly namespace: string;
  readonly pod: string;
  readonly name: string;
  /** Relative to one CPU. */
  readonly cpuPercent: number | undefined;
  readonly memoryBytes: number | undefined;
  /** Undefined: none. */
  readonly memoryLimitBytes: number | undefined;
  /** Of its whole pod, because all containers of a pod share the network. Bytes per second. */
  readonly receivedPerSecond: number | undefined;
  readonly sentPerSecond: number | undefined;
  readonly ioPerSecond: number | undefined;
  /** How much of the last 10 s some process had to wait for CPU, memory and disk, in percent. */
  readonly pressure: {
    readonly cpu: number | undefined;
    readonly memory: number | undefined;
    readonly io: number | undefined;
  };
  /** The attempt: how often the container was created again. */
  readonly restarts: number;
}

export type SortKey = "cpu" | "memory" | "io" | "network" | "restarts";

/** One row for each container, the largest first. Without an earlier sample there are no rates. */
export function usageRows(before: UsageSample | undefined, now: UsageSample, sort: SortKey): UsageRow[] {
  const earlier = new Map(before?.containerStats.map((one) => [one.attributes?.id, one]));
  const stats = new Map(now.containerStats.map((one) => [one.attributes?.id, one]));
  const pods = new Map(now.pods.map((pod) => [pod.id, pod]));
  const networks = networkRates(before, now);
  const seconds = before === undefined ? 0 : (now.atMs - before.atMs) / 1000;
  const rows = now.containers.map((container): UsageRow => {
    const one = stats.get(container.id);
    const pod = pods.get(container.podSandboxId)?.metadata;
    const network = networks.get(container.podSandboxId);
    return {
      id: container.id,
      namespace: pod?.namespace ?? "",
      pod: pod?.name ?? "",
      name: container.metadata?.name ?? "",
      cpuPercent: cpuPercent(earlier.get(container.id)?.cpu, one?.cpu),
      memoryBytes: numberOf(one?.memory?.workingSetBytes),
      memoryLimitBytes: limitOf(one?.memory),
      receivedPerSecond: network?.received,
      sentPerSecond: network?.sent,
      ioPerSecond: rate(before?.ioBytes?.get(container.id), now.ioBytes?.get(container.id), seconds),
      pressure: { cpu: pressureOf(one?.cpu), memory: pressureOf(one?.memory), io: pressureOf(one?.io) },
      restarts: container.metadata?.attempt ?? 0,
    };
  });
  return rows.toSorted((a, b) => sortValue(b, sort) - sortValue(a, sort) || (a.id < b.id ? -1 : 1));
}

function sortValue(row: UsageRow, sort: SortKey): number {
  switch (sort) {
    case "cpu":
      return row.cpuPercent ?? -1;
    case "memory":
      return row.memoryBytes ?? -1;
    case "io":
      return row.ioPerSecond ?? row.pressure.io ?? -1;
    case "network":
      return (row.receivedPerSecond ?? 0) + (row.sentPerSecond ?? 0);
    case "restarts":
      return row.restarts;
  }
}

function networkRates(
  before: UsageSample | undefined,
  now: UsageSample,
): Map<string, { received: number | undefined; sent: number | undefined }> {
  const earlier = new Map(before?.podStats.map((one) => [one.attributes?.id, one]));
  const seconds = before === undefined ? 0 : (now.atMs - before.atMs) / 1000;
  return new Map(
    now.podStats.map((one) => {
      const [was, is] = [
        earlier.get(one.attributes?.id)?.linux?.network?.defaultInterface,
        one.linux?.network?.defaultInterface,
      ];
      return [
        one.attributes?.id ?? "",
        {
          received: rate(numberOf(was?.rxBytes), numberOf(is?.rxBytes), seconds),
          sent: rate(numberOf(was?.txBytes), numberOf(is?.txBytes), seconds),
        },
      ];
    }),
  );
}

/** A counter that went back was reset: how much came in between is not known. */
function rate(before: number | undefined, now: number | undefined, seconds: number): number | undefined {
  return before === undefined || now === undefined || now < before || seconds <= 0
    ? undefined
    : (now - before) / seconds;
}

/** CRI: available_bytes is the limit minus the working set; without a limit, runtimes leave it out or report 0. */
function limitOf(memory: MemoryUsage | undefined): number | undefined {
  const available = numberOf(memory?.availableBytes);
  return available === undefined || available === 0 ? undefined : available + (numberOf(memory?.workingSetBytes) ?? 0);
}

function pressureOf(usage: (Pick<CpuUsage, "psi"> & { psi: PsiStats | undefined }) | undefined): number | undefined {
  return usage?.psi?.Some?.Avg10;
}

function numberOf(value: { value: bigint } | undefined): number | undefined {
  return value === undefined ? undefined : Number(value.value);
}
