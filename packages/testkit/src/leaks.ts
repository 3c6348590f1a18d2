import { execFileSync } from "node:child_process";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { slowness } from "./wait.ts";

/** A process as a filter sees it. */
export interface ProcessInfo {
  readonly pid: number;
  readonly parentPid: number;
  /** The command line with spaces, or the name in brackets when it has none. */
  readonly command: string;
}

/** What was on the machine at one moment: a sentence for each thing, under a key that identifies it for ever. */
export type Snapshot = ReadonlyMap<string, string>;

/** What to leave out of a snapshot, and what to add to it. */
export interface SnapshotOptions {
  /** Leaves out other programs' processes. Kernel threads, this process and its ancestors are always left out. */
  readonly ignoreProcess?: (process: ProcessInfo) => boolean;
  /** More directories, every entry of which counts, such as a daemon's root and state. */
  readonly directories?: readonly string[];
}

// Every network namespace gets these when the kernel has the module (net.core.fb_tunnels_only_for_init_net).
const kernelInterfaces = new Set("sit0 tunl0 ip6tnl0 gre0 gretap0 erspan0 ip_vti0 ip6_vti0 ip6gre0".split(" "));

/**
 * Records what this machine has, as the calling process sees it: processes, mounts, cgroups, network interfaces, named
 * network namespaces, firewall rules, CNI's files, System V and POSIX IPC. It is synchronous, so that it can run while
 * a process exits, and takes some 20 ms.
 */
export function takeSnapshot(options: SnapshotOptions = {}): Snapshot {
  const things = new Map<string, string>();
  addProcesses(things, options.ignoreProcess ?? (() => false));
  addMounts(things);
  addCgroups(things, "/sys/fs/cgroup");
  addUnits(things);
  addLines(things, "/proc/net/dev", 2, (line) => {
    const name = line.trim().split(":")[0] ?? "";
    return kernelInterfaces.has(name) ? undefined : `network interface ${name} is still there`;
  });
  addTree(things, "/run/netns", (path) => `network namespace ${path} is still there`);
  addRules(things);
  // host-local keeps its lock and the last address that it assigned; both are meant to stay.
  addTree(things, "/var/lib/cni", (path, isDir) =>
    isDir || /\/(lock|last_reserved_ip\.\d+)$/.test(path) ? undefined : `CNI file ${path} is still there`,
  );
  for (const kind of ["shm", "sem", "msg"]) {
    addLines(things, `/proc/sysvipc/${kind}`, 1, (line) => {
      const [key, id] = line.trim().split(/\s+/);
      return `System V ${kind} ${id} (key ${key}) is still there`;
    });
  }
  for (const dir of ["/dev/shm", "/dev/mqueue"])
    addTree(things, dir, (path) => `POSIX IPC object ${path} is still there`);
  for (const dir of options.directories ?? []) addTree(things, dir, (path) => `${path} is still there`);
  return things;
}

/** A sentence for each thing in `after` that is not in `before`. */
export function compare(before: Snapshot, after: Snapshot): string[] {
  return [...after].filter(([key]) => !before.has(key)).map(([, sentence]) => sentence);
}

/**
 * What has been left behind since `before`. Whatever is just ending has `settleMs` to do so (default: 2 s; times
 * `slowness`), during which this blocks the thread.
 */
export function leftBehind(before: Snapshot, options: SnapshotOptions & { readonly settleMs?: number } = {}): string[] {
  const deadline = performance.now() + (options.settleMs ?? 2000) * slowness;
  for (;;) {
    const left = compare(before, takeSnapshot(options));
    if (left.length === 0 || performance.now() >= deadline) return left;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
}

function addProcesses(things: Map<string, string>, ignore: (process: ProcessInfo) => boolean): void {
  const parents = new Map<number, number>();
  const found: { info: ProcessInfo; key: string; state: string }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = read(`/proc/${name}/stat`);
    if (stat === undefined) continue;
    // proc_pid_stat(5): the name in parentheses may contain anything, so the fields are counted from its end.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [pid, parentPid, flags] = [Number(name), Number(fields[1]), Number(fields[6])];
    parents.set(pid, parentPid);
    if (flags & 0x0020_0000) continue; // PF_KTHREAD
    const commandLine = read(`/proc/${name}/cmdline`)?.replaceAll("\0", " ").trim();
    const command = commandLine || `[${stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"))}]`;
    found.push({ info: { pid, parentPid, command }, key: `process ${pid} ${fields[19]}`, state: fields[0] ?? "" });
  }
  const own = new Set<number>();
  for (let pid: number | undefined = process.pid; pid !== undefined && !own.has(pid); pid = parents.get(pid))
    own.add(pid);
  for (const { info, key, state } of found) {
    // A child of ours that has ended is reaped when this thread gets to it, or when we end.
    if (own.has(info.pid) || (state === "Z" && info.parentPid === process.pid) || ignore(info)) continue;
    const verb = state === "Z" ? "was never reaped" : "is still running";
    things.set(key, `process ${info.pid} (parent ${info.parentPid}) ${verb}: ${info.command}`);
  }
}

function addMounts(things: Map<string, string>): void {
  for (const line of (read("/proc/self/mountinfo") ?? "").split("\n").filter(Boolean)) {
    const [head = "", tail = ""] = line.split(" - ");
    const [, , , root, target] = head.split(" ");
    const [type, source] = tail.split(" ");
    let key = `mount ${target} ${type} ${source} ${root}`;
    while (things.has(key)) key += " again"; // the same mount on top of itself
    things.set(key, `${type} mount of ${source} is still at ${target}`);
  }
}

function addCgroups(things: Map<string, string>, dir: string): void {
  // A directory's link count in cgroupfs includes its subdirectories, which saves listing its dozens of files.
  const stat = lstatSync(dir, { throwIfNoEntry: false });
  if (stat === undefined || (stat.nlink === 2 && dir !== "/sys/fs/cgroup")) return;
  for (const entry of entries(dir)) {
    if (!entry.isDirectory()) continue;
    const path = join(dir, entry.name);
    things.set(`cgroup ${path}`, `cgroup ${path} is still there`);
    addCgroups(things, path);
  }
}

/** A unit outlives its cgroup, until systemd is told to stop it. */
function addUnits(things: Map<string, string>): void {
  if (lstatSync("/run/systemd/system", { throwIfNoEntry: false }) === undefined) return;
  for (const line of output("systemctl", ["list-units", "--all", "--plain", "--no-legend", "--type=scope,slice"])
    .split("\n")
    .filter(Boolean)) {
    const unit = line.split(" ")[0];
    things.set(`unit ${unit}`, `systemd unit ${unit} is still loaded`);
  }
}

function addRules(things: Map<string, string>): void {
  for (const family of ["iptables", "ip6tables"]) {
    const legacyTables = read(`/proc/net/${family === "iptables" ? "ip" : "ip6"}_tables_names`);
    for (const variant of legacyTables ? ["nft", "legacy"] : ["nft"]) {
      let table = "";
      for (const line of output(`/usr/sbin/${family}-${variant}-save`).split("\n")) {
        if (line.startsWith("*")) table = line.slice(1);
        // A chain with a policy is built in. The counters after a chain's name change all the time.
        const chain = /^:(\S+) - /.exec(line)?.[1];
        const what = line.startsWith("-A ") ? `rule ${line}` : chain === undefined ? undefined : `chain ${chain}`;
        if (what !== undefined)
          things.set(
            `${family} ${variant} ${table} ${what}`,
            `${family} (${variant}, table ${table}) still has the ${what}`,
          );
      }
    }
  }
}

function addLines(
  things: Map<string, string>,
  path: string,
  skip: number,
  sentenceOf: (line: string) => string | undefined,
): void {
  for (const line of (read(path) ?? "").split("\n").slice(skip).filter(Boolean)) {
    const sentence = sentenceOf(line);
    if (sentence !== undefined) things.set(sentence, sentence);
  }
}

function addTree(
  things: Map<string, string>,
  dir: string,
  sentenceOf: (path: string, isDir: boolean) => string | undefined,
): void {
  for (const entry of entries(dir)) {
    const path = join(dir, entry.name);
    const sentence = sentenceOf(path, entry.isDirectory());
    if (sentence !== undefined) things.set(sentence, sentence);
    if (entry.isDirectory()) addTree(things, path, sentenceOf);
  }
}

function entries(dir: string) {
  try {
    return readdirSync(dir, { withFileTypes: true });
  } catch {
    return []; // missing, or just removed
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // missing, or its process has just ended
  }
}

function output(command: string, args: readonly string[] = []): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return ""; // not installed, or this kernel lacks that table
  }
}
