import {
  type LinuxContainerResources,
  type Metric,
  type MetricDescriptor,
  MetricType,
  type PodSandboxMetrics,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ProcessCounts } from "@keelson/linux/batch.ts";
import type { CgroupUsage, DeviceIo, Pressure } from "@keelson/linux/cgroup-usage.ts";
import type { InterfaceCounters } from "@keelson/linux/net-dev.ts";
import type { DiskUsage } from "@keelson/linux/tree.ts";
import type { FileSystemSize } from "./usage-source.ts";

/** Who a number is of, as cAdvisor's metrics of a kubelet say it; for a pod as a whole the container's are empty. */
const baseLabels = ["id", "name", "image", "container", "pod", "namespace"] as const;

/** The labels of a container or pod. */
export type Subject = Readonly<Record<(typeof baseLabels)[number], string>>;

/** What the numbers of a container, or of a pod as a whole, are made of. */
export interface Measured {
  subject: Subject;
  /** ns since 1970. */
  atNs: bigint;
  cgroup: CgroupUsage;
  /** Of a pod with a network of its own. */
  interfaces?: readonly InterfaceCounters[];
  /** Of a container. */
  container?: {
    startedAtNs: bigint;
    resources: LinuxContainerResources | undefined;
    disk: DiskUsage | undefined;
    processes: ProcessCounts | undefined;
    openFileLimit: number | undefined;
  };
}

/** What is the same for all containers of the machine. */
export interface Machine {
  /** The file system with the writable layers. */
  fileSystem: FileSystemSize;
  /** Its block device. */
  device: { major: number; minor: number };
  /** Such as `/dev/sda`; empty when it has no name. */
  deviceName(major: number, minor: number): string;
}

/** What a kernel does not count, no container can have. */
export interface Available {
  pressure: boolean;
  hugepages: boolean;
  /** cgroups v1 remember the most that was in use; v2 does not. */
  hugepagePeaks: boolean;
}

type Values = Iterable<readonly [labels: readonly string[], value: bigint]>;

interface Definition {
  name: string;
  help: string;
  type: MetricType;
  labels: readonly string[];
  needs?: keyof Available;
  values: (m: Measured, machine: Machine) => Values;
}

const { COUNTER, GAUGE } = MetricType;

/** ListMetricDescriptors: all that this machine can tell, and `podSandboxMetricsOf` does. */
export function metricDescriptors(available: Available): MetricDescriptor[] {
  return definitionsFor(available).map(({ name, help, labels }) => ({
    name,
    help,
    labelKeys: [...baseLabels, ...labels],
  }));
}

/** ListPodSandboxMetrics: what the descriptors promise, of a pod as a whole and of its running containers. */
export function podSandboxMetricsOf(
  podId: string,
  pod: Measured | undefined,
  containers: readonly { id: string; measured: Measured }[],
  machine: Machine,
  available: Available,
): PodSandboxMetrics {
  const definitions = definitionsFor(available);
  return {
    podSandboxId: podId,
    metrics: pod === undefined ? [] : metricsOf(definitions, pod, machine),
    containerMetrics: containers.map(({ id, measured }) => ({
      containerId: id,
      metrics: metricsOf(definitions, measured, machine),
    })),
  };
}

function definitionsFor(available: Available): Definition[] {
  return definitions.filter(({ needs }) => needs === undefined || available[needs]);
}

function metricsOf(wanted: readonly Definition[], m: Measured, machine: Machine): Metric[] {
  const base = baseLabels.map((label) => m.subject[label]);
  const metrics: Metric[] = [];
  for (const { name, type, values } of wanted) {
    for (const [labels, value] of values(m, machine)) {
      metrics.push({
        name,
        timestamp: m.atNs,
        metricType: type,
        labelValues: labels.length === 0 ? base : [...base, ...labels],
        value: { value },
      });
    }
  }
  return metrics;
}

const nsPerSecond = 1_000_000_000n;
const usPerSecond = 1_000_000n;

function* one(value: bigint | undefined): Values {
  if (value !== undefined) yield [[], value];
}

/** Of a container; for one that has no limit or setting, 0 is what cAdvisor says. */
function ofContainer(
  value: (container: NonNullable<Measured["container"]>) => bigint | undefined,
): (m: Measured) => Values {
  return ({ container }) => one(container === undefined ? undefined : value(container));
}

function cpu(value: (cpu: NonNullable<CgroupUsage["cpu"]>) => bigint | undefined): (m: Measured) => Values {
  return ({ cgroup }) => one(cgroup.cpu === undefined ? undefined : value(cgroup.cpu));
}

function seconds(ns: bigint | undefined): bigint | undefined {
  return ns === undefined ? undefined : ns / nsPerSecond;
}

function memory(value: (memory: NonNullable<CgroupUsage["memory"]>) => bigint | undefined): (m: Measured) => Values {
  return ({ cgroup }) => one(cgroup.memory === undefined ? undefined : value(cgroup.memory));
}

function network(value: (of: InterfaceCounters) => bigint): (m: Measured) => Values {
  return ({ interfaces = [] }) => interfaces.map((of) => [[of.name], value(of)] as const);
}

function pressure(
  resource: "cpu" | "memory" | "io",
  kind: keyof NonNullable<NonNullable<CgroupUsage["cpu"]>["pressure"]>,
): (m: Measured) => Values {
  return ({ cgroup }) => {
    const of: Pressure | undefined = cgroup[resource]?.pressure?.[kind];
    return one(of === undefined ? undefined : of.totalUs / usPerSecond);
  };
}

/** Of each device; where nothing was read or written yet, of the one with the writable layer. */
function io(value: (of: DeviceIo) => readonly (readonly [labels: readonly string[], value: bigint])[]) {
  return function* ({ cgroup, container }: Measured, machine: Machine): Values {
    if (container === undefined || cgroup.io === undefined) return;
    const idle: DeviceIo = { ...machine.device, readBytes: 0n, writtenBytes: 0n, reads: 0n, writes: 0n };
    for (const device of cgroup.io.devices.length > 0 ? cgroup.io.devices : [idle]) {
      const name = machine.deviceName(device.major, device.minor);
      for (const [labels, number] of value(device)) yield [[name, ...labels], number];
    }
  };
}

function fileSystem(value: (machine: Machine, disk: DiskUsage | undefined) => bigint | undefined) {
  return function* ({ container }: Measured, machine: Machine): Values {
    const number = container === undefined ? undefined : value(machine, container.disk);
    if (number !== undefined) yield [[machine.deviceName(machine.device.major, machine.device.minor)], number];
  };
}

function* hugepages({ cgroup }: Measured, value: (of: CgroupUsage["hugepages"][number]) => bigint | undefined): Values {
  for (const of of cgroup.hugepages) {
    const number = value(of);
    if (number !== undefined) yield [[of.size], number];
  }
}

const plain: readonly string[] = [];

function counter(name: string, help: string, values: Definition["values"], labels = plain): Definition {
  return { name: `container_${name}`, help, type: COUNTER, labels, values };
}

function gauge(name: string, help: string, values: Definition["values"], labels = plain): Definition {
  return { name: `container_${name}`, help, type: GAUGE, labels, values };
}

/** Numbers are whole in the CRI, so seconds are cut to whole ones. */
const definitions: readonly Definition[] = [
  counter(
    "cpu_usage_seconds_total",
    "CPU time used, in seconds.",
    function* ({ cgroup }) {
      if (cgroup.cpu !== undefined) yield [["total"], cgroup.cpu.usageNs / nsPerSecond];
    },
    ["cpu"],
  ),
  counter(
    "cpu_user_seconds_total",
    "CPU time used by programs, in seconds.",
    cpu((c) => seconds(c.userNs)),
  ),
  counter(
    "cpu_system_seconds_total",
    "CPU time used by the kernel for them, in seconds.",
    cpu((c) => seconds(c.systemNs)),
  ),
  counter(
    "cpu_cfs_periods_total",
    "Periods in which a CPU quota was enforced.",
    cpu((c) => c.periods),
  ),
  counter(
    "cpu_cfs_throttled_periods_total",
    "Periods in which the CPU quota was used up.",
    cpu((c) => c.throttledPeriods),
  ),
  counter(
    "cpu_cfs_throttled_seconds_total",
    "Time that was waited for the CPU quota, in seconds.",
    cpu((c) => seconds(c.throttledNs)),
  ),

  gauge(
    "memory_usage_bytes",
    "Memory in use, whatever for.",
    memory((m) => m.usageBytes),
  ),
  gauge(
    "memory_working_set_bytes",
    "Memory in use that cannot be taken back at once.",
    memory((m) => m.workingSetBytes),
  ),
  gauge(
    "memory_rss",
    "Anonymous memory in use, in bytes.",
    memory((m) => m.rssBytes),
  ),
  gauge(
    "memory_cache",
    "Page cache in use, in bytes.",
    memory((m) => m.cacheBytes),
  ),
  gauge(
    "memory_mapped_file",
    "Files mapped into memory, in bytes.",
    memory((m) => m.mappedFileBytes),
  ),
  gauge(
    "memory_kernel_usage",
    "Memory of the kernel for it, in bytes.",
    memory((m) => m.kernelBytes),
  ),
  gauge(
    "memory_max_usage_bytes",
    "The most memory that was ever in use.",
    memory((m) => m.maxUsageBytes),
  ),
  counter(
    "memory_failcnt",
    "How often the memory limit was hit.",
    memory((m) => m.limitHits),
  ),
  counter(
    "memory_failures_total",
    "Page faults: pgfault, and pgmajfault for which the disk was read.",
    function* ({ cgroup: { memory } }) {
      if (memory?.pageFaults !== undefined) yield [["pgfault", "hierarchy"], memory.pageFaults];
      if (memory?.majorPageFaults !== undefined) yield [["pgmajfault", "hierarchy"], memory.majorPageFaults];
    },
    ["failure_type", "scope"],
  ),
  counter(
    "oom_events_total",
    "Processes that were killed for want of memory.",
    memory((m) => m.oomKills),
  ),
  gauge("memory_swap", "Swap in use, in bytes.", ({ cgroup }) => one(cgroup.swap?.usageBytes)),

  counter(
    "network_receive_bytes_total",
    "Bytes received.",
    network((i) => i.rxBytes),
    ["interface"],
  ),
  counter(
    "network_receive_packets_total",
    "Packets received.",
    network((i) => i.rxPackets),
    ["interface"],
  ),
  counter(
    "network_receive_packets_dropped_total",
    "Packets dropped that were to be received.",
    network((i) => i.rxDropped),
    ["interface"],
  ),
  counter(
    "network_receive_errors_total",
    "Errors while receiving.",
    network((i) => i.rxErrors),
    ["interface"],
  ),
  counter(
    "network_transmit_bytes_total",
    "Bytes sent.",
    network((i) => i.txBytes),
    ["interface"],
  ),
  counter(
    "network_transmit_packets_total",
    "Packets sent.",
    network((i) => i.txPackets),
    ["interface"],
  ),
  counter(
    "network_transmit_packets_dropped_total",
    "Packets dropped that were to be sent.",
    network((i) => i.txDropped),
    ["interface"],
  ),
  counter(
    "network_transmit_errors_total",
    "Errors while sending.",
    network((i) => i.txErrors),
    ["interface"],
  ),

  gauge(
    "fs_usage_bytes",
    "What the writable layer takes on disk.",
    fileSystem((_, disk) => (disk === undefined ? undefined : BigInt(disk.bytes))),
    ["device"],
  ),
  gauge(
    "fs_limit_bytes",
    "Size of the file system with the writable layer.",
    fileSystem((machine) => machine.fileSystem.sizeBytes),
    ["device"],
  ),
  gauge(
    "fs_inodes_total",
    "Inodes of that file system.",
    fileSystem((machine) => machine.fileSystem.inodes),
    ["device"],
  ),
  gauge(
    "fs_inodes_free",
    "Inodes of that file system that are free.",
    fileSystem((machine) => machine.fileSystem.inodesFree),
    ["device"],
  ),
  counter(
    "fs_reads_bytes_total",
    "Bytes read from disks.",
    io((d) => [[plain, d.readBytes]]),
    ["device"],
  ),
  counter(
    "fs_reads_total",
    "Reads from disks.",
    io((d) => [[plain, d.reads]]),
    ["device"],
  ),
  counter(
    "fs_writes_bytes_total",
    "Bytes written to disks.",
    io((d) => [[plain, d.writtenBytes]]),
    ["device"],
  ),
  counter(
    "fs_writes_total",
    "Writes to disks.",
    io((d) => [[plain, d.writes]]),
    ["device"],
  ),
  counter(
    "blkio_device_usage_total",
    "Bytes read from and written to disks, by operation.",
    io((d) => [
      [[String(d.major), String(d.minor), "Read"], d.readBytes],
      [[String(d.major), String(d.minor), "Write"], d.writtenBytes],
    ]),
    ["device", "major", "minor", "operation"],
  ),

  gauge(
    "processes",
    "Processes.",
    ofContainer((c) => whole(c.processes?.processes)),
  ),
  gauge("threads", "Threads of all processes.", ({ cgroup }) => one(cgroup.pids?.current)),
  gauge("threads_max", "How many threads there may be; 0 for no limit.", ({ cgroup }) =>
    one(cgroup.pids === undefined ? undefined : (cgroup.pids.limit ?? 0n)),
  ),
  gauge(
    "file_descriptors",
    "Files that processes have open.",
    ofContainer((c) => whole(c.processes?.fileDescriptors)),
  ),
  gauge(
    "sockets",
    "Sockets that processes have open.",
    ofContainer((c) => whole(c.processes?.sockets)),
  ),
  gauge(
    "ulimits_soft",
    "Soft limits of the first process; the largest 64 bit number for none.",
    function* ({ container }) {
      const limit = container?.openFileLimit;
      if (limit !== undefined) yield [["max_open_files"], limit === Infinity ? (1n << 64n) - 1n : BigInt(limit)];
    },
    ["ulimit"],
  ),

  gauge(
    "start_time_seconds",
    "When the container was started, in seconds since 1970.",
    ofContainer((c) => seconds(c.startedAtNs)),
  ),
  gauge("last_seen", "When the container was measured, in seconds since 1970.", ({ container, atNs }) =>
    one(container === undefined ? undefined : seconds(atNs)),
  ),
  gauge(
    "spec_cpu_period",
    "Length of a period of the CPU quota, in microseconds; 0 for the kernel's own.",
    ofContainer((c) => c.resources?.cpuPeriod ?? 0n),
  ),
  gauge(
    "spec_cpu_quota",
    "CPU time allowed in a period, in microseconds; 0 for no limit.",
    ofContainer((c) => positive(c.resources?.cpuQuota)),
  ),
  gauge(
    "spec_cpu_shares",
    "Weight among others that want the CPU.",
    ofContainer((c) => c.resources?.cpuShares ?? 0n),
  ),
  gauge(
    "spec_memory_limit_bytes",
    "Memory limit; 0 for none.",
    ofContainer((c) => positive(c.resources?.memoryLimitInBytes)),
  ),
  gauge(
    "spec_memory_swap_limit_bytes",
    "Limit of memory and swap together; 0 for none.",
    ofContainer((c) => positive(c.resources?.memorySwapLimitInBytes)),
  ),
  gauge(
    "spec_memory_reservation_limit_bytes",
    "Memory that is kept for it (memory.low); 0 for none.",
    ofContainer((c) => reservation(c.resources?.unified["memory.low"])),
  ),

  {
    ...counter(
      "pressure_cpu_waiting_seconds_total",
      "Time that some of its tasks waited for a CPU, in seconds.",
      pressure("cpu", "some"),
    ),
    needs: "pressure",
  },
  {
    ...counter(
      "pressure_cpu_stalled_seconds_total",
      "Time that all of its tasks waited for a CPU, in seconds.",
      pressure("cpu", "full"),
    ),
    needs: "pressure",
  },
  {
    ...counter(
      "pressure_memory_waiting_seconds_total",
      "Time that some of its tasks waited for memory, in seconds.",
      pressure("memory", "some"),
    ),
    needs: "pressure",
  },
  {
    ...counter(
      "pressure_memory_stalled_seconds_total",
      "Time that all of its tasks waited for memory, in seconds.",
      pressure("memory", "full"),
    ),
    needs: "pressure",
  },
  {
    ...counter(
      "pressure_io_waiting_seconds_total",
      "Time that some of its tasks waited for disks, in seconds.",
      pressure("io", "some"),
    ),
    needs: "pressure",
  },
  {
    ...counter(
      "pressure_io_stalled_seconds_total",
      "Time that all of its tasks waited for disks, in seconds.",
      pressure("io", "full"),
    ),
    needs: "pressure",
  },
  {
    ...gauge("hugetlb_usage_bytes", "Huge pages in use, by their size.", (m) => hugepages(m, (h) => h.usageBytes), [
      "pagesize",
    ]),
    needs: "hugepages",
  },
  {
    ...gauge(
      "hugetlb_max_usage_bytes",
      "The most huge pages that were ever in use, by their size.",
      (m) => hugepages(m, (h) => h.maxUsageBytes),
      ["pagesize"],
    ),
    needs: "hugepagePeaks",
  },
];

function whole(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(value);
}

/** -1 and 0 are no limit. */
function positive(value: bigint | undefined): bigint {
  return value !== undefined && value > 0n ? value : 0n;
}

function reservation(text: string | undefined): bigint {
  return text !== undefined && /^\d+$/.test(text) ? BigInt(text) : 0n;
}
