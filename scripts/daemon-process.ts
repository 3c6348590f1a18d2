import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { Code, codeOf } from "@keelson/base/status.ts";
import { type CriClient, createCriClient } from "@keelson/cri/client.ts";
import { waitFor } from "@keelson/testkit/wait.ts";

export interface DaemonOptions {
  /** For messages: `keelsond`, `containerd`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Where it serves the CRI: `unix:///…`. */
  readonly endpoint: string;
  /** Its output is appended to this file. */
  readonly logFile: string;
}

/** A CRI daemon that a script has started, with a client. Disposing of it kills it. */
export class DaemonProcess implements AsyncDisposable {
  readonly #options: DaemonOptions;
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  #client: CriClient | undefined;

  private constructor(options: DaemonOptions) {
    this.#options = options;
    const log = openSync(options.logFile, "a");
    // Its own process group: Ctrl-C is for the script, which still needs the daemon to clean up.
    this.#child = spawn(options.command, options.args, { stdio: ["ignore", log, log], detached: true });
    closeSync(log);
    this.#ended = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : signal));
    });
  }

  /** Starts it and waits until it answers Version. Throws when it ends before that, or takes longer than 30 s. */
  static async start(options: DaemonOptions, signal: AbortSignal): Promise<DaemonProcess> {
    await using undo = new AsyncDisposableStack();
    const daemon = undo.use(new DaemonProcess(options));
    let end: string | undefined;
    void daemon.#ended.then((how) => (end = how));
    await waitFor(
      async () => {
        signal.throwIfAborted();
        if (end !== undefined) throw new Error(`${options.name} ended before it served (${end})`);
        return daemon.#answers();
      },
      { timeoutMs: 30_000, message: `${options.name} does not answer on ${options.endpoint}` },
    );
    undo.move();
    return daemon;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get endpoint(): string {
    return this.#options.endpoint;
  }

  get client(): CriClient {
    return (this.#client ??= createCriClient(this.#options.endpoint));
  }

  /** Sends a signal and waits for the end. After `timeoutMs` (20 s by default) it kills the daemon and throws. */
  async end(signal: "SIGTERM" | "SIGKILL", timeoutMs = 20_000): Promise<void> {
    this.#client?.close();
    this.#child.kill(signal);
    const late = Symbol("late");
    using deadline = timer(timeoutMs, late);
    if ((await Promise.race([this.#ended, deadline.promise])) !== late) return;
    this.#child.kill("SIGKILL");
    await this.#ended;
    throw new Error(`${this.#options.name} did not end within ${timeoutMs} ms of ${signal} and was killed`);
  }

  /** The last lines of its log. */
  logTail(lines = 20): string[] {
    return readFileSync(this.#options.logFile, "utf8").trimEnd().split("\n").slice(-lines);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Uses a new connection each time, because gRPC waits longer and longer between its own attempts. */
  async #answers(): Promise<boolean> {
    const client = createCriClient(this.#options.endpoint);
    try {
      await client.call("version", { version: "" }, AbortSignal.timeout(5000));
      return true;
    } catch (error) {
      // containerd's socket exists before its CRI plugin serves.
      if (([Code.Unavailable, Code.Unimplemented, Code.Unknown] as Code[]).includes(codeOf(error))) return false;
      throw error;
    } finally {
      client.close();
    }
  }
}

function timer<T>(ms: number, value: T): { promise: Promise<T> } & Disposable {
  const { promise, resolve } = Promise.withResolvers<T>();
  const handle = setTimeout(resolve, ms, value);
  return { promise, [Symbol.dispose]: () => clearTimeout(handle) };
}
