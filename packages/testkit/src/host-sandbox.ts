import { spawn } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmdirSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const sandboxScript = join(import.meta.dirname, "sandbox.sh");
const cgroupRoot = "/sys/fs/cgroup";
const cgroupPrefix = "keelson-sandbox-";
/** In which this process has its pid: callers with the same pid in other ones may make sandboxes in the same cgroup. */
const pidNamespace = pidNamespaceOf("self");
/** The machine's own, from where every process is seen (linux/proc_ns.h: PROC_PID_INIT_INO). */
const firstPidNamespace = String(0xeffffffc);
let sandboxesMade = 0;

/** What a sandbox has of its own, besides mounts, processes, IPC, host name, cgroups, /run and /var/lib/cni. */
export interface SandboxOptions {
  /** A network namespace with nothing but `lo`, which is up. Otherwise the machine's network, rules included. */
  readonly net?: boolean;
}

/** How a command in a sandbox ended, and what it wrote where it was captured. */
export interface SandboxResult {
  /** The exit code; 128 + n when signal n ended it. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a command in namespaces of its own (mount, PID, IPC, UTS, cgroup and, with `net`, network). It sees the
 * machine's files, but a private /run and /var/lib/cni, only its own processes, and as the root of every cgroup
 * hierarchy a directory made for it. When the command ends, or the caller dies, everything that was started inside is
 * killed, and all that was made there is gone. Needs root, util-linux, iproute2 and catatonit.
 */
export async function runInSandbox(
  command: string,
  args: readonly string[],
  options: SandboxOptions & {
    readonly env?: NodeJS.ProcessEnv;
    readonly cwd?: string;
    readonly stdio?: "inherit" | "capture";
  } = {},
): Promise<SandboxResult> {
  if (process.getuid?.() !== 0) throw new Error("a sandbox needs root: it makes namespaces and cgroups");
  await removeStaleCgroups();
  const name = `${cgroupPrefix}${process.pid}-${pidNamespace}-${++sandboxesMade}`;
  try {
    return await run(name, [options.net ? "new-net" : "host-net", command, ...args], options);
  } finally {
    await removeCgroups(name);
  }
}

/** Whether this process is inside the sandbox that the running script's `reexecInSandbox` made. */
export function inOwnSandbox(): boolean {
  return process.env["KEELSON_SANDBOX"] === process.argv[1] && process.argv[1] !== undefined;
}

/**
 * Starts the running script again inside a sandbox and exits with its exit code; inside, it returns at once. To be
 * awaited at the top of a script or test file, before anything is changed. A script that is started within a sandbox
 * gets its own.
 */
export async function reexecInSandbox(options: SandboxOptions = {}): Promise<void> {
  const script = process.argv[1];
  if (script === undefined) throw new Error("reexecInSandbox needs a script that can be started again, not `node -e`");
  if (inOwnSandbox()) return;
  const { exitCode } = await runInSandbox(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    ...options,
    env: { ...process.env, KEELSON_SANDBOX: script },
    stdio: "inherit",
  });
  process.exit(exitCode);
}

async function run(
  name: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string; readonly stdio?: "inherit" | "capture" },
): Promise<SandboxResult> {
  const capture = options.stdio === "capture";
  const child = spawn(sandboxScript, ["enter", name, ...args], {
    stdio: capture ? ["ignore", "pipe", "pipe"] : "inherit",
    env: options.env ?? process.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const output = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream]?.setEncoding("utf8").on("data", (text: string) => (output[stream] += text));
  }
  // unshare(1) ignores signals while it waits; its child, process 1 of the sandbox, passes them on.
  const forward = (signal: NodeJS.Signals): void => {
    if (signal === "SIGINT" && process.stdin.isTTY) return; // the terminal has sent it to the whole group
    for (const pid of childrenOf(child.pid)) process.kill(pid, signal);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, forward);
  using _ = thawAtEnd(name, child.pid);
  try {
    const exitCode = await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    });
    return { exitCode, ...output };
  } finally {
    for (const signal of signals) process.off(signal, forward);
  }
}

/** How often to check whether the command has ended while its sandbox has not, in ms. */
const thawPeriodMs = 1000;

/**
 * On cgroup v1 a frozen process does not react to SIGKILL, and the PID namespace waits for it after its process 1 has
 * ended. So this thaws what a daemon had frozen when it was killed at the end.
 */
function thawAtEnd(name: string, unshare: number | undefined): Disposable {
  let command: number | undefined;
  const timer = setInterval(() => {
    const init = childrenOf(unshare)[0];
    if (init === undefined) return;
    const inside = childrenOf(init);
    command ??= inside[0];
    if (command !== undefined && !inside.includes(command)) thawAll(join(cgroupRoot, "freezer", name));
  }, thawPeriodMs).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function thawAll(dir: string): void {
  for (const entry of existsSync(dir) ? readdirSync(dir, { withFileTypes: true }) : [])
    if (entry.isDirectory()) thawAll(join(dir, entry.name));
  try {
    writeFileSync(join(dir, "freezer.state"), "THAWED", { flag: "r+" });
  } catch {
    // The machine's cgroups are v2, where frozen processes can be killed; or this one is gone.
  }
}

function childrenOf(pid: number | undefined): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // it has ended
  }
}

/** Removes the cgroups of sandboxes whose callers were killed before they could clean up. */
async function removeStaleCgroups(): Promise<void> {
  const names = new Set(
    cgroupHierarchies()
      .flatMap((dir) => readdirSync(dir))
      .filter((name) => name.startsWith(cgroupPrefix)),
  );
  for (const name of names) {
    const [pid, namespace = ""] = name.slice(cgroupPrefix.length).split("-");
    if (namespace === pidNamespace ? !existsSync(`/proc/${pid}`) : hasEnded(namespace)) await removeCgroups(name);
  }
}

/** Whether another PID namespace has no process any more, which only the machine's own shows. */
function hasEnded(namespace: string): boolean {
  // Its number has ten digits. Without one the name is of an older version of this file.
  if (pidNamespace !== firstPidNamespace || !/^\d{10}$/.test(namespace)) return false;
  return !readdirSync("/proc").some((pid) => pidNamespaceOf(pid) === namespace);
}

/** The number of a process's PID namespace; undefined when it has ended. */
function pidNamespaceOf(pid: string): string | undefined {
  try {
    return /^pid:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/ns/pid`))?.[1];
  } catch {
    return undefined;
  }
}

async function removeCgroups(name: string): Promise<void> {
  for (const hierarchy of cgroupHierarchies()) {
    const dir = join(hierarchy, name);
    // The kernel answers EBUSY for a moment after the last process has gone.
    for (let attempt = 0; existsSync(dir) && attempt < 100; attempt++) {
      try {
        removeCgroup(dir);
      } catch (error) {
        if (attempt === 99) throw new Error(`remove the cgroup ${dir} of a sandbox that has ended`, { cause: error });
        await sleep(20);
      }
    }
  }
}

function removeCgroup(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(dir, entry.name));
  }
  rmdirSync(dir);
}

function cgroupHierarchies(): string[] {
  if (existsSync(join(cgroupRoot, "cgroup.procs"))) return [cgroupRoot];
  return readdirSync(cgroupRoot)
    .map((name) => join(cgroupRoot, name))
    .filter((dir) => !lstatSync(dir).isSymbolicLink() && existsSync(join(dir, "cgroup.procs")));
}

/** For `test(name, { skip }, …)`: tests that change interfaces, firewall, mounts or cgroups run only in a sandbox. */
export const skip = inOwnSandbox() ? false : "needs a sandbox: bin/node scripts/test.ts FILE";
