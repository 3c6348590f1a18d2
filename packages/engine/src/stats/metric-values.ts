import type { CgroupUsage, DeviceIo, Pressure } from "@keelson/linux/cgroup-usage.ts";
import type { InterfaceCounters } from "@keelson/linux/net-dev.ts";
import type { DiskUsage } from "@keelson/linux/tree.ts";
import type { Machine, Measured } from "./measured.ts";

/** The values of a metric, each with the values of its own labels. */
export type Values = Iterable<readonly [labels: readonly string[], value: bigint]>;

export const nsPerSecond = 1_000_000_000n;
const usPerSecond = 1_000_000n;

export function* one(value: bigint | undefined): Values {
  if (value !== undefined) yield [[], value];
}

/** A container's value. Like cAdvisor, 0 for a limit or setting that it does not have. */
export function ofContainer(
  value: (container: NonNullable<Measured["container"]>) => bigint | undefined,
): (m: Measured) => Values {
  return ({ container }) => one(container === undefined ? undefined : value(container));
}

export function cpu(value: (cpu: NonNullable<CgroupUsage["cpu"]>) => bigint | undefined): (m: Measured) => Values {
  return ({ cgroup }) => one(cgroup.cpu === undefined ? undefined : value(cgroup.cpu));
}

export function seconds(ns: bigint | undefined): bigint | undefined {
  return ns === undefined ? undefined : ns / nsPerSecond;
}

export function memory(
  value: (memory: NonNullable<CgroupUsage["memory"]>) => bigint | undefined,
): (m: Measured) => Values {
  return ({ cgroup }) => one(cgroup.memory === undefined ? undefined : value(cgroup.memory));
}

export function network(value: (of: InterfaceCounters) => bigint): (m: Measured) => Values {
  return ({ interfaces = [] }) => interfaces.map((of) => [[of.name], value(of)] as const);
}

export function pressure(
  resource: "cpu" | "memory" | "io",
  kind: keyof NonNullable<NonNullable<CgroupUsage["cpu"]>["pressure"]>,
): (m: Measured) => Values {
  return ({ cgroup }) => {
    const of: Pressure | undefined = cgroup[resource]?.pressure?.[kind];
    return one(of === undefined ? undefined : of.totalUs / usPerSecond);
  };
}

/** Values of each device; before the first read or write, of the device with the writable layer. */
export function io(value: (of: DeviceIo) => readonly (readonly [labels: readonly string[], value: bigint])[]) {
  return function* ({ cgroup, container }: Measured, machine: Machine): Values {
    if (container === undefined || cgroup.io === undefined) return;
    const idle: DeviceIo = { ...machine.device, readBytes: 0n, writtenBytes: 0n, reads: 0n, writes: 0n };
    for (const device of cgroup.io.devices.length > 0 ? cgroup.io.devices : [idle]) {
      const name = machine.deviceName(device.major, device.minor);
      for (const [labels, number] of value(device)) yield [[name, ...labels], number];
    }
  };
}

export function fileSystem(value: (machine: Machine, disk: DiskUsage | undefined) => bigint | undefined) {
  return function* ({ container }: Measured, machine: Machine): Values {
    const number = container === undefined ? undefined : value(machine, container.disk);
    if (number !== undefined) yield [[machine.deviceName(machine.device.major, machine.device.minor)], number];
  };
}

export function* hugepages(
  { cgroup }: Measured,
  value: (of: CgroupUsage["hugepages"][number]) => bigint | undefined,
): Values {
  for (const of of cgroup.hugepages) {
    const number = value(of);
    if (number !== undefined) yield [[of.size], number];
  }
}

export function whole(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(value);
}

/** -1 and 0 mean no limit. */
export function positive(value: bigint | undefined): bigint {
  return value !== undefined && value > 0n ? value : 0n;
}

export function reservation(text: string | undefined): bigint {
  return text !== undefined && /^\d+$/.test(text) ? BigInt(text) : 0n;
}
