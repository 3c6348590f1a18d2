import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "@keelson/base/log.ts";
import type { MetricDescriptor, PodSandboxMetrics } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { CgroupUsage, UsageDetail } from "@keelson/linux/cgroup-usage.ts";
import type { InterfaceCounters } from "@keelson/linux/net-dev.ts";
import type { RecordStore } from "@keelson/store/record-store.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { containerDir, type Paths, podDir } from "../records/paths.ts";
import { podFiles } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { CpuRates } from "./cpu-rates.ts";
import { type MeasuredUsage, DiskUsages } from "./disk-usages.ts";
import { GuestUsages, type GuestUsagesDeps } from "./guest-usages.ts";
import type { Available, Machine, Measured, Subject } from "./measured.ts";
import { metricDescriptors, podSandboxMetricsOf } from "./pod-metrics.ts";
import type { UsageSource } from "./usage-source.ts";

/** What a container or pod used at a point in time. */
export interface Usage {
  /** ns since 1970. */
  atNs: bigint;
  cgroup: CgroupUsage;
  /** Billionths of a core over the last seconds; undefined until it is known. */
  nanoCores: bigint | undefined;
}

export interface ContainerUsage {
  record: ContainerRecord;
  /** undefined when it is not running. */
  usage: Usage | undefined;
  /** The writable layer; undefined until it has been measured. */
  disk: MeasuredUsage | undefined;
}

export interface PodUsage {
  record: PodRecord;
  /** undefined when it is not ready, or its cgroup is gone. */
  usage: Usage | undefined;
  /** undefined with the host's network. */
  interfaces: InterfaceCounters[] | undefined;
  containers: ContainerUsage[];
}

export interface StatsCollectorDeps {
  readonly log: Log;
  readonly paths: Paths;
  readonly pods: RecordStore<PodRecord>;
  readonly containers: RecordStore<ContainerRecord>;
  readonly source: UsageSource;
  /** See GuestUsagesDeps. */
  readonly runtimeOf: GuestUsagesDeps["runtimeOf"];
  readonly machine: Machine;
  readonly available: Available;
  /** How often CPU time is read for the rates, in ms. */
  readonly periodMs: number;
}

/**
 * Measures containers and pods on request, many at once, and their CPU time also in the background, so that the first
 * answer has a rate already. Takes no lock and asks runtimes only in the background: a container that hangs is measured
 * like any other.
 */
export class StatsCollector {
  readonly #d: StatsCollectorDeps;
  readonly #rates = new CpuRates();
  readonly #disks: DiskUsages;
  readonly #guests: GuestUsages;
  readonly #stop = new AbortController();
  /** Whether a container was started since the last sample. */
  #wantsSample = false;

  constructor(deps: StatsCollectorDeps) {
    this.#d = deps;
    const { source, paths, runtimeOf } = deps;
    this.#guests = new GuestUsages({ runtimeOf, nowNs: () => source.nowNs(), nowMs: () => source.nowMs() });
    this.#disks = new DiskUsages({
      measure: (id) => source.disk(containerDir(paths, id)),
      nowNs: () => source.nowNs(),
      nowMs: () => source.nowMs(),
    });
  }

  /** Starts sampling. Never rejects. */
  start(): void {
    void this.#sampleForever();
  }

  close(): void {
    this.#stop.abort();
  }

  /** Takes a first sample of a container that was just started, to compute its rate from. */
  containerStarted(): void {
    if (this.#wantsSample) return;
    this.#wantsSample = true;
    // Containers that start together are sampled together.
    setTimeout(() => void this.#sample(), 50).unref();
  }

  /** What these containers use. */
  async ofContainers(records: readonly ContainerRecord[], detail: UsageDetail = "stats"): Promise<ContainerUsage[]> {
    const [guests, others] = partition(records.filter(isRunning), (c) => this.#guests.has(c));
    const [usages, ofGuests, disks] = await Promise.all([
      this.#measure(
        others.map((c) => ({ id: c.id, path: c.cgroupPath })),
        detail,
      ),
      this.#askGuests(guests),
      this.#disks.of(records.map((c) => c.id)),
    ]);
    return records.map((record) => ({
      record,
      usage: usages.get(record.id) ?? ofGuests.get(record.id),
      disk: disks.get(record.id),
    }));
  }

  /** What these pods and their running containers use. */
  async ofPods(records: readonly PodRecord[], detail: UsageDetail = "stats"): Promise<PodUsage[]> {
    const ready = records.filter((p) => p.state.is === "ready");
    const networked = ready.filter((p) => p.plan.network === "own");
    const wanted = new Set(ready.map((p) => p.id));
    const containers = this.#d.containers.all().filter((c) => isRunning(c) && wanted.has(c.podId));
    const [usages, interfaces, ofContainers] = await Promise.all([
      // The root cgroup contains the whole machine.
      this.#measure(
        ready.filter((p) => p.plan.cgroup.path !== "/").map((p) => ({ id: p.id, path: p.plan.cgroup.path })),
        detail,
      ),
      this.#d.source.interfaces(networked.map((p) => podFiles(podDir(this.#d.paths, p.id)).netns)),
      this.ofContainers(containers, detail),
    ]);
    const interfacesOf = new Map(networked.map((p, i) => [p.id, interfaces[i]]));
    const containersOf = Map.groupBy(ofContainers, ({ record }) => record.podId);
    return records.map((record) => ({
      record,
      usage: usages.get(record.id),
      interfaces: interfacesOf.get(record.id),
      containers: containersOf.get(record.id) ?? [],
    }));
  }

  /** CRI: ListMetricDescriptors. Does not change while the daemon runs. */
  metricDescriptors(): MetricDescriptor[] {
    return metricDescriptors(this.#d.available);
  }

  /** CRI: ListPodSandboxMetrics, for these pods and their running containers. */
  async podMetrics(records: readonly PodRecord[]): Promise<PodSandboxMetrics[]> {
    const { source, machine, available } = this.#d;
    const pods = await this.ofPods(records, "all");
    const running = pods.flatMap(({ containers }) => containers.map(({ record }) => record));
    const [processes, limits] = await Promise.all([
      source.processes(running.map((c) => c.cgroupPath)),
      source.openFileLimits(running.map(mainPidOf)),
    ]);
    const detailsOf = new Map(running.map((c, i) => [c.id, { processes: processes[i], openFileLimit: limits[i] }]));
    return pods.map((pod) => {
      const containers = pod.containers.flatMap(({ record, usage, disk }) => {
        if (usage === undefined || record.state.is !== "running") return [];
        const { startedAtNs } = record.state;
        const container = {
          startedAtNs,
          resources: record.resources,
          disk,
          processes: undefined,
          openFileLimit: undefined,
          ...detailsOf.get(record.id),
        };
        return [
          {
            id: record.id,
            measured: {
              subject: containerSubject(pod.record, record),
              atNs: usage.atNs,
              cgroup: usage.cgroup,
              container,
            },
          },
        ];
      });
      return podSandboxMetricsOf({ podId: pod.record.id, pod: measuredPod(pod), containers }, machine, available);
    });
  }

  async #measure(subjects: readonly { id: string; path: string }[], detail: UsageDetail): Promise<Map<string, Usage>> {
    const { source } = this.#d;
    const cgroups = await source.cgroups(
      subjects.map(({ path }) => path),
      detail,
    );
    const [atNs, atMs] = [source.nowNs(), source.nowMs()];
    const found = subjects.flatMap(({ id }, i): [string, Usage][] => {
      const cgroup = cgroups[i];
      if (cgroup === undefined) return [];
      const nanoCores = cgroup.cpu === undefined ? undefined : this.#rates.record(id, atMs, cgroup.cpu.usageNs);
      return [[id, { atNs, cgroup, nanoCores }]];
    });
    return new Map(found);
  }

  async #askGuests(records: readonly ContainerRecord[]): Promise<Map<string, Usage>> {
    if (records.length === 0) return new Map();
    const found = await this.#guests.of(records);
    return new Map(
      [...found].map(([id, { atNs, atMs, cgroup }]) => [
        id,
        {
          atNs,
          cgroup,
          nanoCores: cgroup.cpu === undefined ? undefined : this.#rates.record(id, atMs, cgroup.cpu.usageNs),
        },
      ]),
    );
  }

  async #sampleForever(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#sample();
      await sleep(this.#d.periodMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  async #sample(): Promise<void> {
    this.#wantsSample = false;
    const { pods, containers, log } = this.#d;
    try {
      const running = containers.all().filter(isRunning);
      const [guests, others] = partition(running, (c) => this.#guests.has(c));
      const ready = pods.all().filter((p) => p.state.is === "ready" && p.plan.cgroup.path !== "/");
      const subjects = [
        ...others.map((c) => ({ id: c.id, path: c.cgroupPath })),
        ...ready.map((p) => ({ id: p.id, path: p.plan.cgroup.path })),
      ];
      this.#rates.keepOnly(new Set([...subjects, ...guests].map(({ id }) => id)));
      this.#guests.keepOnly(new Set(guests.map(({ id }) => id)));
      this.#disks.keepOnly(new Set(containers.all().map((c) => c.id)));
      await Promise.all([this.#measure(subjects, "cpu"), this.#askGuests(guests)]);
    } catch (error) {
      log.warn({ err: error }, "the CPU time of containers cannot be read; trying again");
    }
  }
}

function measuredPod({ record, usage, interfaces }: PodUsage): Measured | undefined {
  if (usage === undefined) return undefined;
  const { metadata, cgroup } = record.plan;
  const subject = {
    id: cgroup.path,
    name: "",
    image: "",
    container: "",
    pod: metadata.name,
    namespace: metadata.namespace,
  };
  return { subject, atNs: usage.atNs, cgroup: usage.cgroup, ...(interfaces === undefined ? {} : { interfaces }) };
}

function containerSubject(pod: PodRecord, { id, config, cgroupPath }: ContainerRecord): Subject {
  const { name, namespace } = pod.plan.metadata;
  const image = config.image?.userSpecifiedImage || config.image?.image || "";
  return { id: cgroupPath, name: id, image, container: config.metadata?.name ?? "", pod: name, namespace };
}

function partition<T>(all: readonly T[], isFirst: (each: T) => boolean): [T[], T[]] {
  return [all.filter((each) => isFirst(each)), all.filter((each) => !isFirst(each))];
}

function mainPidOf({ state }: ContainerRecord): number {
  return state.is === "running" ? (state.main?.pid ?? 0) : 0;
}

function isRunning({ state }: ContainerRecord): boolean {
  return state.is === "running";
}
