import { join } from "node:path";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import type { DaemonProcess } from "../daemon-process.ts";
import { type PodNetwork, startKeelsond } from "../keelsond.ts";
import { type Say, Steps } from "./steps.ts";

const callTimeoutMs = 30_000;

/** What the demo's story takes place on: a directory, a network, and the keelsond that is running at the moment. */
export class Stage {
  readonly steps = new Steps();
  /** All files of the demo are in here. */
  readonly dir: string;
  readonly network: PodNetwork;
  /** The parent of the pod's cgroups. */
  readonly cgroup = "keelson-demo";
  /** The pod's log directory, and the container's log in it. */
  readonly logDir: string;
  readonly logName = "ticker.log";
  /** Ctrl-C. */
  readonly signal: AbortSignal;
  #daemon: DaemonProcess | undefined;

  constructor(dir: string, network: PodNetwork, signal: AbortSignal) {
    this.dir = dir;
    this.logDir = join(dir, "logs");
    this.network = network;
    this.signal = signal;
  }

  /** The file that the container logs to. */
  get logFile(): string {
    return join(this.logDir, this.logName);
  }

  /** The keelsond that is running; undefined when none is. */
  get daemon(): DaemonProcess | undefined {
    return this.#daemon;
  }

  /** Prints a step of the story, and does it. */
  step<T>(name: string, work: (say: Say) => Promise<T>): Promise<T> {
    return this.steps.run(name, work);
  }

  async startDaemon(signal = this.signal): Promise<DaemonProcess> {
    return (this.#daemon = await startKeelsond(this.dir, this.network, signal));
  }

  async endDaemon(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    await this.#daemon?.end(signal);
    this.#daemon = undefined;
  }

  /** Makes a call of the CRI. */
  call<N extends UnaryCallName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    if (this.#daemon === undefined) throw new Error("keelsond is not running");
    return this.#daemon.client.call(name, request, AbortSignal.any([this.signal, AbortSignal.timeout(callTimeoutMs)]));
  }
}
