import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { signalProcess, watchProcess } from "@keelson/linux/process.ts";
import { readStat } from "@keelson/linux/procfs.ts";
import type { RunningProcesses } from "./runtime.ts";

/** In ms. */
export interface MonitorPatience {
  /** How often a monitor that owes a report is looked at. */
  readonly periodMs: number;
  /** How long it may do nothing at all. */
  readonly silenceMs: number;
  /** How long it may take when it waits for the processor or for a disk, which a slow machine explains. */
  readonly busyMs: number;
}

const patience: MonitorPatience = { periodMs: 500, silenceMs: 5000, busyMs: 60_000 };

/** How long after SIGKILL a monitor may take to be gone, in ms. Even if a disk holds it, it cannot report any more. */
const dyingMs = 2000;

const sigkill = 9;

/**
 * Waits for the end of a container's monitor. A monitor that is stopped or stuck would never end, and its container
 * would count as running for ever: so once the container's first process is gone, the monitor has to report that in
 * time, or it is killed. What it wrote before its death counts.
 */
export class MonitorWatch implements Disposable {
  readonly #monitor: ProcessIdentity;
  readonly #onEnd: () => void;
  readonly #patience: MonitorPatience;
  readonly #watches: Disposable[];
  #timer: NodeJS.Timeout | undefined;
  #silentMs = 0;
  #waitedMs = 0;

  /** @param onEnd called once, never from within this constructor. */
  constructor({ main, monitor }: RunningProcesses, onEnd: () => void, times = patience) {
    this.#monitor = monitor;
    this.#onEnd = onEnd;
    this.#patience = times;
    this.#watches = [watchProcess(monitor.pid, monitor.startTicks, () => this.#end())];
    if (main !== undefined) this.#watches.push(watchProcess(main.pid, main.startTicks, () => this.#owesReport()));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const watch of this.#watches.splice(0)) watch[Symbol.dispose]();
  }

  #owesReport(): void {
    this.#timer = setInterval(() => this.#look(), this.#patience.periodMs).unref();
  }

  /** Counts looks, not the clock: when this process or the whole machine stands still, nobody is silent. */
  #look(): void {
    const { periodMs, silenceMs, busyMs } = this.#patience;
    const state = readStat(this.#monitor.pid)?.state;
    this.#silentMs = state === "R" || state === "D" ? 0 : this.#silentMs + periodMs;
    this.#waitedMs += periodMs;
    if (this.#silentMs < silenceMs && this.#waitedMs < busyMs) return;
    clearInterval(this.#timer);
    signalProcess(this.#monitor.pid, this.#monitor.startTicks, sigkill);
    this.#timer = setTimeout(() => this.#end(), dyingMs).unref();
  }

  #end(): void {
    this[Symbol.dispose]();
    this.#onEnd();
  }
}
