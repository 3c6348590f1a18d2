import { randomBytes } from "node:crypto";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { readProcesses } from "@keelson/linux/procfs.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { specAny } from "@keelson/shim/any.ts";
import type { TaskClient } from "@keelson/shim/task-client.ts";
import type { ExecOutput, OutputStream } from "../exec-output.ts";
import { killExec } from "../exec-processes.ts";
import type { RunningExec, RuntimeContainer } from "../runtime.ts";
import { answerTimeoutMs, endlessMs, slowTimeoutMs } from "./deadlines.ts";
import { ExecFifos } from "./exec-fifos.ts";

/** How long to wait for more output after a command's end while others have its streams open, in ms. */
const drainMs = 1000;

/**
 * How long a slow client may take to read the last output, in ms: a shim that forgets a command throws away what was
 * not read.
 */
const forgetAfterMs = 30_000;

/** How long a killed command may take to end, in ms. */
const killMs = 2000;

export interface ExecShim {
  /**
   * Held while a command is being started: containerd's shim starts one after the other, takes note of exits in
   * between, and stalls for a second and more when too many wait for either.
   */
  turn(signal: AbortSignal): Promise<Disposable>;
  task(signal: AbortSignal): Promise<TaskClient>;
  /** Whether its processes are this machine's. */
  readonly hasHostProcesses: boolean;
}

/** One command in a container of a shim. */
class ShimExec {
  readonly id = `exec-${randomBytes(8).toString("hex")}`;
  readonly ended: Promise<number>;
  readonly fifos: ExecFifos;
  readonly #shim: ExecShim;
  readonly #container: RuntimeContainer;
  readonly #ended = Promise.withResolvers<number>();
  #isOver = false;

  constructor(
    shim: ExecShim,
    container: RuntimeContainer,
    streams: { readonly hasInput: boolean; readonly hasTerminal: boolean },
  ) {
    this.#shim = shim;
    this.#container = container;
    this.fifos = new ExecFifos(container.bundleDir, this.id, streams);
    this.ended = this.#ended.promise;
    this.ended.catch(() => {});
  }

  /** Throws FailedPrecondition with the shim's words when it cannot be started; mostly the command itself is wrong. */
  async start(process: ProcessSpec, signal: AbortSignal): Promise<void> {
    const { stdin, stdout, stderr } = this.fifos;
    try {
      using _ = await this.#shim.turn(signal);
      const task = await this.#shim.task(signal);
      const limits = { timeoutMs: slowTimeoutMs, signal };
      await task.call(
        "Exec",
        {
          ...this.#names,
          terminal: process.terminal === true,
          stdin,
          stdout,
          stderr,
          spec: specAny("Process", process),
        },
        limits,
      );
      // Not the caller's signal: once the command runs, all of it can be killed only when its process is known.
      const { pid } = await task.call("Start", this.#names, {
        timeoutMs: slowTimeoutMs,
        signal: AbortSignal.timeout(slowTimeoutMs),
      });
      if (this.#shim.hasHostProcesses && pid > 1) writeFileSync(this.#pidFile, String(pid), { mode: 0o600 });
    } catch (error) {
      await this.forget();
      const code = codeOf(error);
      const isOfCommand = ![Code.Unavailable, Code.DeadlineExceeded, Code.Cancelled].some((own) => own === code);
      throw new StatusError(
        isOfCommand ? Code.FailedPrecondition : code,
        `exec ${process.args?.[0] ?? ""} in container ${this.#container.id}: ${messageOf(error)}`,
        error,
      );
    }
    void this.#waitForEnd(signal);
  }

  async resize({ rows, columns }: TerminalSize): Promise<void> {
    await this.#try((task, limits) => task.call("ResizePty", { ...this.#names, height: rows, width: columns }, limits));
  }

  async closeInput(): Promise<void> {
    await this.#try((task, limits) => task.call("CloseIO", { ...this.#names, stdin: true }, limits));
  }

  /** Has the shim forget it, and kill it before if it still runs. */
  async forget(): Promise<void> {
    if (!this.#isOver) await this.#try((task, limits) => task.call("Kill", { ...this.#names, signal: 9 }, limits));
    await this.#try((task, limits) => task.call("Delete", this.#names, limits));
    this.removeFiles();
  }

  /** Those who have them open can go on using them. */
  removeFiles(): void {
    this.fifos[Symbol.dispose]();
    rmSync(this.#pidFile, { force: true });
  }

  get #names(): { id: string; execId: string } {
    return { id: this.#container.id, execId: this.id };
  }

  get #pidFile(): string {
    return join(this.#container.bundleDir, `${this.id}.pid`);
  }

  async #waitForEnd(signal: AbortSignal): Promise<void> {
    const cut = new AbortController();
    const onAbort = () => {
      void this.#kill();
      setTimeout(() => cut.abort(signal.reason), killMs).unref();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const task = await this.#shim.task(cut.signal);
      const { exitStatus } = await task.call("Wait", this.#names, { timeoutMs: endlessMs, signal: cut.signal });
      this.#isOver = true;
      signal.throwIfAborted();
      this.#ended.resolve(exitStatus);
    } catch (error) {
      this.#ended.reject(signal.aborted ? (signal.reason as Error) : error);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #kill(): Promise<void> {
    if (this.#shim.hasHostProcesses) killExec(this.#pidFile, readProcesses);
    await this.#try((task, limits) => task.call("Kill", { ...this.#names, signal: 9 }, limits));
  }

  /** The command, the container or the shim may be gone by now. */
  async #try(
    call: (task: TaskClient, limits: { timeoutMs: number; signal: AbortSignal }) => Promise<unknown>,
  ): Promise<void> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    try {
      await call(await this.#shim.task(signal), { timeoutMs: answerTimeoutMs, signal });
    } catch {
      // Then nothing is left to be done.
    }
  }
}

/** Runs a command to its end, without input. */
export async function execInShim(
  shim: ExecShim,
  container: RuntimeContainer,
  process: ProcessSpec,
  output: ExecOutput,
  signal: AbortSignal,
): Promise<number> {
  const exec = new ShimExec(shim, container, { hasInput: false, hasTerminal: process.terminal === true });
  const fds = exec.fifos.open();
  const [stdout, stderr] = [new FifoReader(fds.stdout, output.stdout), new FifoReader(fds.stderr, output.stderr)];
  try {
    await exec.start(process, signal);
  } catch (error) {
    stdout.close();
    stderr.close();
    throw error;
  }
  // Before a shim forgets a command, it waits for all who have its streams open.
  const forgotten = exec.ended
    .catch(() => {})
    .then(() => Promise.all([stdout.ended, stderr.ended]))
    .then(() => exec.forget());
  try {
    const exitCode = await exec.ended;
    await Promise.race([forgotten, delay(drainMs, undefined, { signal })]);
    return exitCode;
  } finally {
    // What others still write is read and thrown away.
    stdout.keepNothing();
    stderr.keepNothing();
    exec.removeFiles();
  }
}

/**
 * Starts a command with streams. Without input it gets no stdin, rather than one that is closed at once: where a stream
 * ends with the input, as in Kata, the command would lose its output.
 */
export async function execStreamsInShim(
  shim: ExecShim,
  container: RuntimeContainer,
  { process, hasInput }: { readonly process: ProcessSpec; readonly hasInput: boolean },
  signal: AbortSignal,
): Promise<RunningExec> {
  const exec = new ShimExec(shim, container, { hasInput, hasTerminal: process.terminal === true });
  const fds = exec.fifos.open();
  try {
    await exec.start(process, signal);
  } catch (error) {
    exec.fifos.closeAll();
    throw error;
  }
  const { consoleSize } = process;
  if (consoleSize !== undefined) void exec.resize({ rows: consoleSize.height, columns: consoleSize.width });
  const forget = () => void exec.forget();
  exec.ended.finally(() => exec.removeFiles()).then(() => setTimeout(forget, forgetAfterMs).unref(), forget);
  return {
    streams: { is: "pipes", ...fds },
    ended: exec.ended,
    resize: (size) => void exec.resize(size),
    ...(hasInput ? { stdinClosed: () => void exec.closeInput() } : {}),
  };
}

/** Ends the commands that an earlier daemon was running in the container. */
export async function endShimExecs(task: TaskClient, container: RuntimeContainer, signal: AbortSignal): Promise<void> {
  const ids = new Set(
    readdirSync(container.bundleDir).flatMap((name) => /^(exec-[0-9a-f]{16})\./.exec(name)?.[1] ?? []),
  );
  for (const execId of ids) {
    const names = { id: container.id, execId };
    killExec(join(container.bundleDir, `${execId}.pid`), readProcesses);
    const limits = { timeoutMs: answerTimeoutMs, signal };
    await task.call("Kill", { ...names, signal: 9 }, limits).catch(() => {});
    await task.call("Wait", names, { timeoutMs: killMs, signal }).catch(() => {});
    await task.call("Delete", names, limits).catch(() => {});
    for (const name of ["stdin", "stdout", "stderr", "pid"])
      rmSync(join(container.bundleDir, `${execId}.${name}`), { force: true });
  }
}

/** Reads a FIFO to its end and adds what comes to the output. */
class FifoReader {
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  #add: OutputStream["add"];

  constructor(fd: number, output: OutputStream) {
    this.#add = output.add;
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on("error", () => this.#socket.destroy());
    this.ended = new Promise((resolve) => this.#socket.once("close", () => resolve()));
    this.#socket.on("data", (chunk: Buffer) => this.#add(chunk));
  }

  keepNothing(): void {
    this.#add = () => {};
  }

  close(): void {
    this.#socket.destroy();
  }
}
