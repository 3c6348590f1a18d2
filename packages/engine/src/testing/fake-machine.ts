import { setImmediate as turn } from "node:timers/promises";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { ExitReport } from "@keelson/runtimes/runtime.ts";

/**
 * What happens to an effect: it works, fails without having done anything, is done and then fails, or hangs until it is
 * aborted or released.
 */
export type Fate = "works" | "fails" | "done and fails" | "hangs";

/** What a fault throws. Not a StatusError, as the kernel's errors are not either. */
export class InjectedFault extends Error {
  constructor(effect: string) {
    super(`injected fault in ${effect}`);
    this.name = "InjectedFault";
  }
}

/** Beyond the kernel's largest pid (2^22), so that a real look-up finds none of them. */
const firstPid = 5_000_000;

interface FakeProcess {
  readonly pid: number;
  readonly kind: "init" | "main" | "monitor";
  /** The pod's for an init, the container's for the others. */
  readonly ownerId: string;
  /** "" for monitors. */
  readonly cgroup: string;
  isStarted: boolean;
}

const noSignal = new AbortController().signal;

/**
 * Processes, cgroups and other things in memory, with a clock. For each effect on them, `fate` decides what happens.
 */
export class FakeMachine {
  /** Broken rules between the parts, such as a pod taken down under running containers. */
  readonly violations: string[] = [];
  /** Names of the effects since the last `effects.length = 0`. */
  readonly effects: string[] = [];
  /** Decides on each effect by its name and its index in `effects`. */
  fate: (effect: string, index: number) => Fate = () => "works";
  /** How many turns of the event loop an effect takes before it is done. */
  turns: () => number = () => 0;
  /** Whether a started process ends at this signal; always does at SIGKILL. */
  endsBy: (containerId: string, signal: number) => boolean = () => true;
  /** The exit code of processes that end as soon as they are started. */
  exitsAtOnce: number | undefined;
  /** Nothing can be killed, as in uninterruptible sleep. */
  isUnkillable = false;
  oomKilled = false;
  /** Monitors are stopped: they report no exit and do not end themselves. */
  exitsUnnoticed = false;
  /** `netns ID`, `rootfs ID`, … */
  readonly things = new Set<string>();
  readonly processes = new Map<number, FakeProcess>();
  readonly cgroups = new Set<string>();
  readonly exitReports = new Map<string, ExitReport>();
  readonly #endListeners = new Map<number, () => void>();
  readonly #hanging = new Set<() => void>();
  #pids = firstPid;
  #clockNs = 1_700_000_000_000_000_000n;

  /** The owners of the running processes of a kind. */
  running(kind: FakeProcess["kind"]): string[] {
    return [...this.processes.values()].filter((p) => p.kind === kind).map((p) => p.ownerId);
  }

  /** Releases every effect that hangs. */
  release(): void {
    for (const go of this.#hanging) go();
  }

  /** Somebody sets the machine's clock. */
  jumpClock(seconds: number): void {
    this.#clockNs += BigInt(seconds) * 1_000_000_000n;
  }

  /** The time of day, which advances at each reading. */
  nowNs(): bigint {
    return (this.#clockNs += 1_000_000n);
  }

  /** The first process of a container ends by itself. */
  exit(containerId: string, exitCode: number): void {
    const main = [...this.processes.values()].find((p) => p.kind === "main" && p.ownerId === containerId);
    if (main !== undefined) this.end(main, exitCode);
  }

  /** Kills a container's monitor: nobody records the exit, and the process loses its streams. */
  killMonitor(containerId: string): void {
    for (const p of this.processes.values()) if (p.kind === "monitor" && p.ownerId === containerId) this.gone(p);
  }

  /** Resolves when no effect is under way and every exit has been recorded. */
  async quiet(): Promise<void> {
    for (let i = 0; i < 20; i += 1) await turn();
  }

  /** @internal For the fakes: a synchronous effect. One that should hang fails instead. */
  now<T>(effect: string, apply: () => T): T {
    const fate = this.#decide(effect);
    if (fate === "fails" || fate === "hangs") throw new InjectedFault(effect);
    const result = apply();
    if (fate === "done and fails") throw new InjectedFault(effect);
    return result;
  }

  #decide(effect: string): Fate {
    this.effects.push(effect);
    const fate = this.fate(effect, this.effects.length - 1);
    // SQLite writes all or nothing.
    return fate === "done and fails" && effect.startsWith("database") ? "fails" : fate;
  }

  async effect<T>(effect: string, apply: () => T, signal: AbortSignal = noSignal): Promise<T> {
    const fate = this.#decide(effect);
    for (let left = this.turns(); left > 0; left -= 1) await turn();
    signal.throwIfAborted();
    if (fate === "fails") throw new InjectedFault(effect);
    if (fate === "hangs") await this.#hang(signal);
    const result = apply();
    if (fate === "done and fails") throw new InjectedFault(effect);
    return result;
  }

  #hang(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        this.#hanging.delete(go);
        signal.removeEventListener("abort", abort);
        resolve();
      };
      const abort = () => {
        this.#hanging.delete(go);
        reject(signal.reason as Error);
      };
      this.#hanging.add(go);
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  start(kind: FakeProcess["kind"], ownerId: string, cgroup: string): ProcessIdentity {
    const pid = (this.#pids += 1);
    this.processes.set(pid, { pid, kind, ownerId, cgroup, isStarted: kind !== "main" });
    return { pid, startTicks: pid };
  }

  /** A main process ends; its monitor records that and ends too. */
  end(process: FakeProcess, exitCode: number): void {
    if (!this.processes.has(process.pid)) return;
    this.gone(process);
    if (process.kind !== "main") return;
    const monitor = [...this.processes.values()].find((p) => p.kind === "monitor" && p.ownerId === process.ownerId);
    if (monitor === undefined || this.exitsUnnoticed) return;
    this.exitReports.set(process.ownerId, { exitCode, finishedAtNs: this.nowNs(), oomKilled: this.oomKilled });
    this.gone(monitor);
  }

  gone(process: FakeProcess): void {
    this.processes.delete(process.pid);
    const ended = this.#endListeners.get(process.pid);
    if (ended !== undefined) setImmediate(ended);
  }

  /** Like a pidfd: calls back once, later, even for a process that is already gone. */
  watch(pid: number, onEnd: () => void): Disposable {
    const ended = () => {
      if (this.#endListeners.get(pid) !== ended) return;
      this.#endListeners.delete(pid);
      onEnd();
    };
    this.#endListeners.set(pid, ended);
    if (!this.processes.has(pid)) setImmediate(ended);
    return {
      [Symbol.dispose]: () => {
        if (this.#endListeners.get(pid) === ended) this.#endListeners.delete(pid);
      },
    };
  }

  killIn(cgroup: string): void {
    for (const p of [...this.processes.values()].filter((p) => p.cgroup === cgroup)) {
      if (this.isUnkillable)
        throw new Error(`kill cgroup ${cgroup}: process ${p.pid} is still there after 5000 ms (EBUSY)`);
      this.end(p, 137);
    }
  }

  /** rmdir(2) of a cgroup and all below it, which fails if they have processes. */
  removeCgroup(path: string): void {
    const below = (other: string) => other === path || other.startsWith(`${path}/`);
    const busy = [...this.processes.values()].find((p) => below(p.cgroup));
    if (busy !== undefined) throw new Error(`rmdir ${path}: EBUSY, process ${busy.kind} of ${busy.ownerId}`);
    for (const cgroup of this.cgroups) if (below(cgroup)) this.cgroups.delete(cgroup);
  }

  signal(pid: number, signal: number): boolean {
    const process = this.processes.get(pid);
    if (process === undefined) return false;
    if (this.isUnkillable) return true;
    // Before its start the process is the runtime's own, which ends at SIGKILL only.
    if (signal === 9 || (process.isStarted && this.endsBy(process.ownerId, signal))) this.end(process, 128 + signal);
    return true;
  }

  /** The daemon that watched processes is gone. */
  forgetListeners(): void {
    this.#endListeners.clear();
  }
}
