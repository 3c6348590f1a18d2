import { MetricType } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Available, Machine, Measured } from "./measured.ts";
import {
  cpu,
  fileSystem,
  hugepages,
  io,
  memory,
  network,
  nsPerSecond,
  ofContainer,
  one,
  positive,
  pressure,
  reservation,
  seconds,
  type Values,
  whole,
} from "./metric-values.ts";

/** A metric of ListPodSandboxMetrics. */
export interface Definition {
  name: string;
  help: string;
  type: MetricType;
  labels: readonly string[];
  needs?: keyof Available;
  values: (m: Measured, machine: Machine) => Values;
}

const { COUNTER, GAUGE } = MetricType;

const plain: readonly string[] = [];

function counter(name: string, help: string, values: Definition["values"], labels = plain): Definition {
  return { name: `container_${name}`, help, type: COUNTER, labels, values };
}

function gauge(name: string, help: string, values: Definition["values"], labels = plain): Definition {
  return { name: `container_${name}`, help, type: GAUGE, labels, values };
}

/** The CRI has integers only, so seconds are truncated. */
export const definitions: readonly Definition[] = [
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
    "CPU time used by the kernel on their behalf, in seconds.",
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
    "Time spent waiting for CPU quota, in seconds.",
    cpu((c) => seconds(c.throttledNs)),
  ),

  gauge(
    "memory_usage_bytes",
    "Memory in use for any purpose, in bytes.",
    memory((m) => m.usageBytes),
  ),
  gauge(
    "memory_working_set_bytes",
    "Memory in use that cannot be reclaimed at once, in bytes.",
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
    "Kernel memory in use, in bytes.",
    memory((m) => m.kernelBytes),
  ),
  gauge(
    "memory_max_usage_bytes",
    "Peak memory in use, in bytes.",
    memory((m) => m.maxUsageBytes),
  ),
  counter(
    "memory_failcnt",
    "How often the memory limit was hit.",
    memory((m) => m.limitHits),
  ),
  counter(
    "memory_failures_total",
    "Page faults: pgfault for all, pgmajfault for those that read from disk.",
    function* ({ cgroup: { memory } }) {
      if (memory?.pageFaults !== undefined) yield [["pgfault", "hierarchy"], memory.pageFaults];
      if (memory?.majorPageFaults !== undefined) yield [["pgmajfault", "hierarchy"], memory.majorPageFaults];
    },
    ["failure_type", "scope"],
  ),
  counter(
    "oom_events_total",
    "Processes killed because memory ran out.",
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
    "Packets dropped while receiving.",
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
    "Packets dropped while sending.",
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
    "Disk space that the writable layer takes, in bytes.",
    fileSystem((_, disk) => (disk === undefined ? undefined : BigInt(disk.bytes))),
    ["device"],
  ),
  gauge(
    "fs_limit_bytes",
    "Size of the file system of the writable layer, in bytes.",
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
    "Free inodes of that file system.",
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
  gauge("threads_max", "Limit of threads; 0 for none.", ({ cgroup }) =>
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
    "Soft limits of the first process; the largest 64-bit number for none.",
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
    "Length of a period of the CPU quota, in microseconds; 0 for the kernel's default.",
    ofContainer((c) => c.resources?.cpuPeriod ?? 0n),
  ),
  gauge(
    "spec_cpu_quota",
    "CPU time allowed in a period, in microseconds; 0 for no limit.",
    ofContainer((c) => positive(c.resources?.cpuQuota)),
  ),
  gauge(
    "spec_cpu_shares",
    "CPU weight relative to others.",
    ofContainer((c) => c.resources?.cpuShares ?? 0n),
  ),
  gauge(
    "spec_memory_limit_bytes",
    "Memory limit, in bytes; 0 for none.",
    ofContainer((c) => positive(c.resources?.memoryLimitInBytes)),
  ),
  gauge(
    "spec_memory_swap_limit_bytes",
    "Limit of memory and swap together, in bytes; 0 for none.",
    ofContainer((c) => positive(c.resources?.memorySwapLimitInBytes)),
  ),
  gauge(
    "spec_memory_reservation_limit_bytes",
    "Protected memory (memory.low), in bytes; 0 for none.",
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
    ...gauge(
      "hugetlb_usage_bytes",
      "Huge pages in use, in bytes, by page size.",
      (m) => hugepages(m, (h) => h.usageBytes),
      ["pagesize"],
    ),
    needs: "hugepages",
  },
  {
    ...gauge(
      "hugetlb_max_usage_bytes",
      "Peak use of huge pages, in bytes, by page size.",
      (m) => hugepages(m, (h) => h.maxUsageBytes),
      ["pagesize"],
    ),
    needs: "hugepagePeaks",
  },
];
