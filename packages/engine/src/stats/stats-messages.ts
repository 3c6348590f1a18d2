import type {
  ContainerStats,
  CpuUsage,
  FilesystemUsage,
  IoUsage,
  MemoryUsage,
  NetworkInterfaceUsage,
  NetworkUsage,
  PodSandboxStats,
  PsiData,
  PsiStats,
  SwapUsage,
  UInt64Value,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Pressure, PressurePair } from "@keelson/linux/cgroup-usage.ts";
import type { InterfaceCounters } from "@keelson/linux/net-dev.ts";
import type { ContainerUsage, PodUsage, Usage } from "./collector.ts";
import type { MeasuredUsage } from "./disk-usages.ts";

/** The name that every runtime gives the interface of a pod. */
const defaultInterface = "eth0";

/**
 * CRI: ContainerStats. One that is not running has stats of its writable layer only.
 *
 * @param mountpoint of the file system of the writable layers.
 */
export function containerStatsOf({ record, usage, disk }: ContainerUsage, mountpoint: string): ContainerStats {
  const { metadata, labels, annotations } = record.config;
  return {
    attributes: { id: record.id, metadata, labels, annotations },
    ...resourcesOf(usage),
    writableLayer: disk === undefined ? undefined : filesystemOf(disk, mountpoint),
  };
}

/** CRI: PodSandboxStats. A pod that is not ready has its attributes only. */
export function podSandboxStatsOf(
  { record, usage, interfaces, containers }: PodUsage,
  mountpoint: string,
): PodSandboxStats {
  const { metadata, labels, annotations } = record.config;
  const { cpu, memory, io } = resourcesOf(usage);
  const pids = usage?.cgroup.pids;
  return {
    attributes: { id: record.id, metadata, labels, annotations },
    linux: {
      cpu,
      memory,
      io,
      network: usage === undefined || interfaces === undefined ? undefined : networkOf(usage.atNs, interfaces),
      process:
        usage === undefined || pids === undefined
          ? undefined
          : { timestamp: usage.atNs, processCount: uint64(pids.current) },
      containers: containers.map((c) => containerStatsOf(c, mountpoint)),
    },
    windows: undefined,
  };
}

function resourcesOf(usage: Usage | undefined): Pick<ContainerStats, "cpu" | "memory" | "swap" | "io"> {
  if (usage === undefined) return { cpu: undefined, memory: undefined, swap: undefined, io: undefined };
  return { cpu: cpuOf(usage), memory: memoryOf(usage), swap: swapOf(usage), io: ioOf(usage) };
}

function cpuOf({ atNs, cgroup: { cpu }, nanoCores }: Usage): CpuUsage | undefined {
  if (cpu === undefined) return undefined;
  return {
    timestamp: atNs,
    usageCoreNanoSeconds: uint64(cpu.usageNs),
    usageNanoCores: uint64(nanoCores),
    psi: psiOf(cpu.pressure),
  };
}

function memoryOf({ atNs, cgroup: { memory } }: Usage): MemoryUsage | undefined {
  if (memory === undefined) return undefined;
  return {
    timestamp: atNs,
    workingSetBytes: uint64(memory.workingSetBytes),
    // Known only with a limit; without one, the machine's memory counts.
    availableBytes: uint64(left(memory.limitBytes, memory.workingSetBytes)),
    usageBytes: uint64(memory.usageBytes),
    rssBytes: uint64(memory.rssBytes),
    pageFaults: uint64(memory.pageFaults),
    majorPageFaults: uint64(memory.majorPageFaults),
    psi: psiOf(memory.pressure),
  };
}

function swapOf({ atNs, cgroup: { swap } }: Usage): SwapUsage | undefined {
  if (swap === undefined) return undefined;
  return {
    timestamp: atNs,
    swapAvailableBytes: uint64(left(swap.limitBytes, swap.usageBytes)),
    swapUsageBytes: uint64(swap.usageBytes),
  };
}

/** In the CRI it has pressure only. */
function ioOf({ atNs, cgroup: { io } }: Usage): IoUsage | undefined {
  return io?.pressure === undefined ? undefined : { timestamp: atNs, psi: psiOf(io.pressure) };
}

function networkOf(atNs: bigint, interfaces: readonly InterfaceCounters[]): NetworkUsage {
  const main = interfaces.find(({ name }) => name === defaultInterface) ?? interfaces[0];
  return {
    timestamp: atNs,
    defaultInterface: main === undefined ? undefined : interfaceOf(main),
    interfaces: interfaces.filter((each) => each !== main).map(interfaceOf),
  };
}

function interfaceOf({ name, rxBytes, rxErrors, txBytes, txErrors }: InterfaceCounters): NetworkInterfaceUsage {
  return {
    name,
    rxBytes: uint64(rxBytes),
    rxErrors: uint64(rxErrors),
    txBytes: uint64(txBytes),
    txErrors: uint64(txErrors),
  };
}

function filesystemOf({ atNs, bytes, inodes }: MeasuredUsage, mountpoint: string): FilesystemUsage {
  return {
    timestamp: atNs,
    fsId: { mountpoint },
    usedBytes: uint64(BigInt(bytes)),
    inodesUsed: uint64(BigInt(inodes)),
  };
}

function psiOf(pair: PressurePair | undefined): PsiStats | undefined {
  return pair === undefined ? undefined : { Full: psiDataOf(pair.full), Some: psiDataOf(pair.some) };
}

/** The CRI has nanoseconds, the kernel microseconds. */
function psiDataOf(pressure: Pressure | undefined): PsiData | undefined {
  if (pressure === undefined) return undefined;
  return { Total: pressure.totalUs * 1000n, Avg10: pressure.avg10, Avg60: pressure.avg60, Avg300: pressure.avg300 };
}

function left(limit: bigint | undefined, used: bigint): bigint | undefined {
  return limit === undefined ? undefined : limit > used ? limit - used : 0n;
}

function uint64<V extends bigint | undefined>(value: V): V extends bigint ? UInt64Value : UInt64Value | undefined {
  return (value === undefined ? undefined : { value }) as V extends bigint ? UInt64Value : UInt64Value | undefined;
}
