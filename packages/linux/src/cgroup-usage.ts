import { readFiles } from "./batch.ts";
import { type CgroupLayout, checkPath } from "./cgroup.ts";

/** The share of time that tasks waited for a resource (Documentation/accounting/psi.rst); averages are in percent. */
export interface Pressure {
  avg10: number;
  avg60: number;
  avg300: number;
  /** Microseconds. */
  totalUs: bigint;
}

/** `some`: at least one task waited. `full`: all of them did. */
export interface PressurePair {
  some?: Pressure;
  full?: Pressure;
}

export interface CpuUsage {
  usageNs: bigint;
  userNs?: bigint;
  systemNs?: bigint;
  periods?: bigint;
  throttledPeriods?: bigint;
  throttledNs?: bigint;
  pressure?: PressurePair;
}

export interface MemoryUsage {
  usageBytes: bigint;
  /** Usage without the file pages that would be reclaimed first. */
  workingSetBytes: bigint;
  rssBytes?: bigint;
  cacheBytes?: bigint;
  mappedFileBytes?: bigint;
  kernelBytes?: bigint;
  /** undefined: none. */
  limitBytes?: bigint;
  maxUsageBytes?: bigint;
  /** How often the limit was reached. */
  limitHits?: bigint;
  pageFaults?: bigint;
  majorPageFaults?: bigint;
  oomKills?: bigint;
  pressure?: PressurePair;
}

export interface SwapUsage {
  usageBytes: bigint;
  /** undefined: none. Of swap alone, also on v1. */
  limitBytes?: bigint;
}

/** The traffic of one block device. */
export interface DeviceIo {
  major: number;
  minor: number;
  readBytes: bigint;
  writtenBytes: bigint;
  reads: bigint;
  writes: bigint;
}

export interface IoUsage {
  devices: DeviceIo[];
  pressure?: PressurePair;
}

export interface HugepageUsage {
  /** As the kernel writes it: `2MB`. */
  size: string;
  usageBytes: bigint;
  maxUsageBytes?: bigint;
}

/** What a cgroup and all those below it use. What the host does not account for is undefined. */
export interface CgroupUsage {
  cpu?: CpuUsage;
  memory?: MemoryUsage;
  swap?: SwapUsage;
  io?: IoUsage;
  /** Tasks: the threads of all processes. */
  pids?: { current: bigint; limit?: bigint };
  hugepages: HugepageUsage[];
}

/** How much to read: CPU time only, what CRI's stats contain, or everything. */
export type UsageDetail = "cpu" | "stats" | "all";

const ranks: Record<UsageDetail, number> = { cpu: 0, stats: 1, all: 2 };

/** A file of a controller, and the least detail that it is read for. */
type UsageFile = readonly [controller: string, name: string, detail: UsageDetail];

const v1Files: readonly UsageFile[] = [
  ["cpuacct", "cpuacct.usage", "cpu"],
  ["cpuacct", "cpuacct.usage_user", "all"],
  ["cpuacct", "cpuacct.usage_sys", "all"],
  ["cpu", "cpu.stat", "all"],
  ["memory", "memory.usage_in_bytes", "stats"],
  ["memory", "memory.stat", "stats"],
  ["memory", "memory.limit_in_bytes", "stats"],
  ["memory", "memory.memsw.limit_in_bytes", "stats"],
  ["memory", "memory.max_usage_in_bytes", "all"],
  ["memory", "memory.failcnt", "all"],
  ["memory", "memory.kmem.usage_in_bytes", "all"],
  ["memory", "memory.oom_control", "all"],
  ["pids", "pids.current", "stats"],
  ["pids", "pids.max", "all"],
  ["blkio", "blkio.throttle.io_service_bytes_recursive", "all"],
  ["blkio", "blkio.throttle.io_serviced_recursive", "all"],
];

const v2Files: readonly UsageFile[] = [
  ["cpu", "cpu.stat", "cpu"],
  ["memory", "memory.current", "stats"],
  ["memory", "memory.stat", "stats"],
  ["memory", "memory.max", "stats"],
  ["memory", "memory.swap.current", "stats"],
  ["memory", "memory.swap.max", "stats"],
  ["memory", "memory.peak", "all"],
  ["memory", "memory.events", "all"],
  ["pids", "pids.current", "stats"],
  ["pids", "pids.max", "all"],
  ["io", "io.stat", "all"],
];

/** Every v2 cgroup has these, whatever its controllers. */
const pressureFiles = ["cpu.pressure", "memory.pressure", "io.pressure"];

/**
 * What cgroups use, read in one job on libuv's pool; undefined for one that does not exist.
 *
 * @param hugepageSizes as the CRI writes them: `2MB`.
 */
export async function readCgroupUsages(
  layout: CgroupLayout,
  paths: readonly string[],
  detail: UsageDetail,
  hugepageSizes: readonly string[] = [],
): Promise<(CgroupUsage | undefined)[]> {
  const plans = paths.map((path) => filesOf(layout, path, detail, hugepageSizes));
  const texts = await readFiles(plans.flatMap((files) => files.map(({ file }) => file)));
  let next = 0;
  return plans.map((files) => {
    const found = new Map<string, string>();
    for (const { name } of files) {
      const text = texts[next++];
      if (text !== null && text !== undefined) found.set(name, text);
    }
    return found.size === 0 ? undefined : usageOf(found, hugepageSizes);
  });
}

/** A file to read of each cgroup, below a hierarchy's directory. */
interface Template {
  readonly name: string;
  readonly root: string;
}

function filesOf(
  layout: CgroupLayout,
  path: string,
  detail: UsageDetail,
  hugepageSizes: readonly string[],
): { name: string; file: string }[] {
  checkPath(path);
  return templatesOf(layout, detail, hugepageSizes).map(({ name, root }) => ({ name, file: `${root}${path}/${name}` }));
}

/** Kept by layout, detail and sizes, because thousands of cgroups need the same ones every few seconds. */
const templates = new WeakMap<CgroupLayout, Map<string, readonly Template[]>>();

function templatesOf(layout: CgroupLayout, detail: UsageDetail, hugepageSizes: readonly string[]): readonly Template[] {
  const ofLayout = templates.get(layout) ?? new Map<string, readonly Template[]>();
  templates.set(layout, ofLayout);
  const key = [detail, ...hugepageSizes].join(" ");
  const found = ofLayout.get(key) ?? newTemplates(layout, detail, hugepageSizes);
  ofLayout.set(key, found);
  return found;
}

function newTemplates(layout: CgroupLayout, detail: UsageDetail, hugepageSizes: readonly string[]): Template[] {
  const wanted = (files: readonly UsageFile[]) => files.filter((file) => ranks[file[2]] <= ranks[detail]);
  const inController = (controller: string, name: string): Template[] => {
    const root = layout.hierarchies.find(({ controllers }) => controllers.includes(controller))?.dir;
    return root === undefined ? [] : [{ name, root }];
  };
  const base = wanted(layout.kind === "v2" ? v2Files : v1Files).flatMap(([controller, name]) =>
    inController(controller, name),
  );
  const hugetlb =
    detail === "all"
      ? hugepageSizes.flatMap((size) => hugepageFiles(size).flatMap((name) => inController("hugetlb", name)))
      : [];
  // Every v2 cgroup has cpu.stat, even without the cpu controller.
  const always =
    layout.kind === "v2" && base.every(({ name }) => name !== "cpu.stat")
      ? [{ name: "cpu.stat", root: layout.root }]
      : [];
  return [...base, ...always, ...hugetlb, ...(detail === "cpu" ? [] : pressureOf(layout))];
}

function pressureOf(layout: CgroupLayout): Template[] {
  const tree = layout.hierarchies.find((hierarchy) => hierarchy.version === 2);
  if (tree === undefined) return [];
  // Beside v1 trees, a v2 cgroup may exist without any of the container's processes in it.
  const names = layout.kind === "v2" ? pressureFiles : ["cgroup.events", ...pressureFiles];
  return names.map((name) => ({ name, root: tree.dir }));
}

function hugepageFiles(size: string): string[] {
  return ["usage_in_bytes", "max_usage_in_bytes", "current"].map((name) => `hugetlb.${size}.${name}`);
}

/** Interprets the text of a cgroup's files, by name, of v1, v2 or both. Pure. */
export function usageOf(files: ReadonlyMap<string, string>, hugepageSizes: readonly string[] = []): CgroupUsage {
  const pressures =
    files.has("cgroup.events") && field(files.get("cgroup.events"), "populated") !== 1n
      ? new Map<string, string>()
      : files;
  const cpu = files.has("cpuacct.usage") ? cpuOfV1(files) : cpuOfV2(files);
  const memory = files.has("memory.usage_in_bytes") ? memoryOfV1(files) : memoryOfV2(files);
  const swap = files.has("memory.usage_in_bytes") ? swapOfV1(files) : swapOfV2(files);
  const io = files.has("io.stat") ? ioOfV2(files.get("io.stat")!) : ioOfV1(files);
  const ioPressure = pressure(pressures.get("io.pressure"));
  const current = integer(files.get("pids.current"));
  return {
    ...(cpu === undefined ? {} : { cpu: { ...cpu, ...some("pressure", pressure(pressures.get("cpu.pressure"))) } }),
    ...(memory === undefined
      ? {}
      : { memory: { ...memory, ...some("pressure", pressure(pressures.get("memory.pressure"))) } }),
    ...some("swap", swap),
    ...(io === undefined && ioPressure === undefined
      ? {}
      : { io: { devices: io ?? [], ...some("pressure", ioPressure) } }),
    ...(current === undefined ? {} : { pids: { current, ...some("limit", integer(files.get("pids.max"))) } }),
    hugepages: hugepageSizes.flatMap((size) => hugepagesOf(files, size)),
  };
}

function cpuOfV1(files: ReadonlyMap<string, string>): CpuUsage | undefined {
  const usageNs = integer(files.get("cpuacct.usage"));
  if (usageNs === undefined) return undefined;
  const stat = (name: string) => field(files.get("cpu.stat"), name);
  return {
    usageNs,
    ...some("userNs", integer(files.get("cpuacct.usage_user"))),
    ...some("systemNs", integer(files.get("cpuacct.usage_sys"))),
    ...some("periods", stat("nr_periods")),
    ...some("throttledPeriods", stat("nr_throttled")),
    ...some("throttledNs", stat("throttled_time")),
  };
}

function cpuOfV2(files: ReadonlyMap<string, string>): CpuUsage | undefined {
  const stat = (name: string) => field(files.get("cpu.stat"), name);
  const ns = (name: string) => {
    const us = stat(name);
    return us === undefined ? undefined : us * 1000n;
  };
  const usageNs = ns("usage_usec");
  if (usageNs === undefined) return undefined;
  return {
    usageNs,
    ...some("userNs", ns("user_usec")),
    ...some("systemNs", ns("system_usec")),
    ...some("periods", stat("nr_periods")),
    ...some("throttledPeriods", stat("nr_throttled")),
    ...some("throttledNs", ns("throttled_usec")),
  };
}

/** v1 shows "no limit" as the largest number of whole pages. */
const v1Unlimited = 1n << 62n;

function memoryOfV1(files: ReadonlyMap<string, string>): MemoryUsage | undefined {
  const usageBytes = integer(files.get("memory.usage_in_bytes"));
  if (usageBytes === undefined) return undefined;
  const stat = files.get("memory.stat");
  // Fields with "total_" include the cgroups below.
  const total = (name: string) => field(stat, `total_${name}`) ?? field(stat, name) ?? 0n;
  return {
    usageBytes,
    workingSetBytes: less(usageBytes, total("inactive_file")),
    rssBytes: total("rss"),
    cacheBytes: total("cache"),
    mappedFileBytes: total("mapped_file"),
    ...some("kernelBytes", integer(files.get("memory.kmem.usage_in_bytes"))),
    ...some("limitBytes", limitOfV1(files.get("memory.limit_in_bytes"))),
    ...some("maxUsageBytes", integer(files.get("memory.max_usage_in_bytes"))),
    ...some("limitHits", integer(files.get("memory.failcnt"))),
    pageFaults: total("pgfault"),
    majorPageFaults: total("pgmajfault"),
    ...some("oomKills", field(files.get("memory.oom_control"), "oom_kill")),
  };
}

function memoryOfV2(files: ReadonlyMap<string, string>): MemoryUsage | undefined {
  const usageBytes = integer(files.get("memory.current"));
  if (usageBytes === undefined) return undefined;
  const stat = files.get("memory.stat");
  const events = files.get("memory.events");
  const of = (name: string) => field(stat, name) ?? 0n;
  return {
    usageBytes,
    workingSetBytes: less(usageBytes, of("inactive_file")),
    rssBytes: of("anon"),
    cacheBytes: of("file"),
    mappedFileBytes: of("file_mapped"),
    kernelBytes: field(stat, "kernel") ?? of("slab") + of("kernel_stack") + of("pagetables"),
    ...some("limitBytes", integer(files.get("memory.max"))),
    ...some("maxUsageBytes", integer(files.get("memory.peak"))),
    ...some("limitHits", field(events, "max")),
    pageFaults: of("pgfault"),
    majorPageFaults: of("pgmajfault"),
    ...some("oomKills", field(events, "oom_kill")),
  };
}

function swapOfV1(files: ReadonlyMap<string, string>): SwapUsage | undefined {
  const stat = files.get("memory.stat");
  const usageBytes = field(stat, "total_swap") ?? field(stat, "swap");
  if (usageBytes === undefined) return undefined;
  // memory.memsw is the sum of memory and swap.
  const both = limitOfV1(files.get("memory.memsw.limit_in_bytes"));
  const memory = limitOfV1(files.get("memory.limit_in_bytes"));
  return { usageBytes, ...(both === undefined || memory === undefined ? {} : { limitBytes: less(both, memory) }) };
}

function swapOfV2(files: ReadonlyMap<string, string>): SwapUsage | undefined {
  const usageBytes = integer(files.get("memory.swap.current"));
  return usageBytes === undefined
    ? undefined
    : { usageBytes, ...some("limitBytes", integer(files.get("memory.swap.max"))) };
}

function limitOfV1(text: string | undefined): bigint | undefined {
  const limit = integer(text);
  return limit === undefined || limit >= v1Unlimited ? undefined : limit;
}

/** Lines of `8:0 Read 4096`, in both files. */
function ioOfV1(files: ReadonlyMap<string, string>): DeviceIo[] | undefined {
  const bytes = files.get("blkio.throttle.io_service_bytes_recursive");
  const operations = files.get("blkio.throttle.io_serviced_recursive");
  if (bytes === undefined || operations === undefined) return undefined;
  const devices = new Map<string, DeviceIo>();
  const add = (text: string, read: "readBytes" | "reads", write: "writtenBytes" | "writes") => {
    for (const [, major = "", minor = "", operation, value = ""] of text.matchAll(
      /^(\d+):(\d+) (Read|Write) (\d+)$/gm,
    )) {
      const device = deviceOf(devices, major, minor);
      device[operation === "Read" ? read : write] += BigInt(value);
    }
  };
  add(bytes, "readBytes", "writtenBytes");
  add(operations, "reads", "writes");
  return [...devices.values()];
}

/** Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`. */
function ioOfV2(text: string): DeviceIo[] {
  const devices = new Map<string, DeviceIo>();
  for (const [, major = "", minor = "", rest = ""] of text.matchAll(/^(\d+):(\d+) (.*)$/gm)) {
    const values = new Map([...rest.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [name, BigInt(value!)]));
    const device = deviceOf(devices, major, minor);
    device.readBytes += values.get("rbytes") ?? 0n;
    device.writtenBytes += values.get("wbytes") ?? 0n;
    device.reads += values.get("rios") ?? 0n;
    device.writes += values.get("wios") ?? 0n;
  }
  return [...devices.values()];
}

function deviceOf(devices: Map<string, DeviceIo>, major: string, minor: string): DeviceIo {
  const key = `${major}:${minor}`;
  const found = devices.get(key) ?? {
    major: Number(major),
    minor: Number(minor),
    readBytes: 0n,
    writtenBytes: 0n,
    reads: 0n,
    writes: 0n,
  };
  devices.set(key, found);
  return found;
}

function hugepagesOf(files: ReadonlyMap<string, string>, size: string): HugepageUsage[] {
  const usageBytes =
    integer(files.get(`hugetlb.${size}.usage_in_bytes`)) ?? integer(files.get(`hugetlb.${size}.current`));
  return usageBytes === undefined
    ? []
    : [{ size, usageBytes, ...some("maxUsageBytes", integer(files.get(`hugetlb.${size}.max_usage_in_bytes`))) }];
}

/** Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`. */
export function pressure(text: string | undefined): PressurePair | undefined {
  if (text === undefined) return undefined;
  const pair: PressurePair = {};
  for (const [, kind, avg10, avg60, avg300, total] of text.matchAll(
    /^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$/gm,
  )) {
    pair[kind === "full" ? "full" : "some"] = {
      avg10: Number(avg10),
      avg60: Number(avg60),
      avg300: Number(avg300),
      totalUs: BigInt(total!),
    };
  }
  return pair.some === undefined && pair.full === undefined ? undefined : pair;
}

/**
 * The number in a line `name number`. Only a few of dozens of lines are needed, so the text is searched and not split.
 */
function field(text: string | undefined, name: string): bigint | undefined {
  if (text === undefined) return undefined;
  const start = text.startsWith(`${name} `) ? 0 : text.indexOf(`\n${name} `) + 1;
  if (start === 0 && !text.startsWith(`${name} `)) return undefined;
  const from = start + name.length + 1;
  const end = text.indexOf("\n", from);
  return integer(text.slice(from, end === -1 ? undefined : end));
}

/** undefined for `max`, and for anything that is not a number. */
function integer(text: string | undefined): bigint | undefined {
  const trimmed = text?.trim();
  return trimmed !== undefined && /^\d+$/.test(trimmed) ? BigInt(trimmed) : undefined;
}

/** a - b, but never negative: the two were read at different times. */
function less(a: bigint, b: bigint): bigint {
  return a > b ? a - b : 0n;
}

/** An object with the property, or an empty one when there is no value. */
function some<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
