import { randomInt } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { execWaiter } from "@keelson/linux/exec-waiter.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import { run } from "@keelson/linux/run.ts";
import type { SpawnOptions } from "@keelson/linux/spawn.ts";
import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import type { ExecOutput } from "./exec-output.ts";
import { type Launched, runOnPipes, runOnTerminal, type TerminalUse } from "./exec-streams.ts";
import { GentleAbort, RuntimeEnd } from "./gentle-abort.ts";
import { exitCodeOf, type Finished, type RuntimeCommand } from "./runtime-command.ts";
import type { RunningExec, RuntimeContainer } from "./runtime.ts";
import { type StreamOwner, streamOwnerIn } from "./stream-owner.ts";
import { writeJson } from "./write-json.ts";

/**
 * How long a runtime may take to end after its command was killed, in ms. It reaps the command: were it killed before,
 * a zombie would stay in the container until the machine's init reaps it.
 */
const reapGraceMs = 1000;

/** One call of the runtime's exec. */
interface ExecInvocation {
  /** The name of its files in the bundle, without their ending. */
  readonly name: string;
  /** The command line, with more options after and before the word `exec`. */
  readonly command: (
    options?: readonly string[],
    runtimeOptions?: readonly string[],
  ) => Pick<SpawnOptions, "file" | "args" | "env" | "oomScoreAdj"> & { readonly streamOwner: StreamOwner };
}

interface RuntimeExecOptions {
  readonly command: RuntimeCommand;
  /**
   * Whether the runtime is to detach from its commands, and something lighter waits for them: runc copies between a
   * command's streams and its own, and waits for both to end, but background processes may hold them open for good.
   */
  readonly detaches: boolean;
  /** More options of `exec`; `base` is the path of its files without their ending. */
  readonly options?: (base: string) => readonly string[];
  /** Kills a command with everything that it started. Also called when there is no `base.pid` yet. */
  readonly kill: (base: string, container: RuntimeContainer) => void;
}

/** Runs commands in containers with `RUNTIME exec`, and waits for them. */
export class RuntimeExec {
  readonly #o: RuntimeExecOptions;
  /** The files of an earlier daemon's commands, which may still be being ended, have other numbers. */
  #execs = randomInt(2 ** 47);

  constructor(options: RuntimeExecOptions) {
    this.#o = options;
  }

  /** See `Runtime.exec`. */
  async run(
    container: RuntimeContainer,
    process: ProcessSpec,
    { stdout, stderr }: ExecOutput,
    signal: AbortSignal,
  ): Promise<number> {
    const result = await this.#exec(container, process, signal, async ({ command }, signal) => {
      // Its stdin is never /dev/null, whose owner crun would change to the container's user.
      const { streamOwner: pipeOwner, ...program } = command();
      const options = { ...program, pipeOwner, stdin: new Uint8Array(), onStdout: stdout.add, onStderr: stderr.add };
      const { code } = await run(options, signal);
      return { code, stdout: stdout.start(), stderr: stderr.start() };
    });
    return exitCodeOf(result);
  }

  launchOnPipes(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<RunningExec> {
    return this.launch(container, process, signal, (invocation, launched, signal) =>
      runOnPipes(invocation.command(), launched, signal),
    );
  }

  launchOnTerminal(
    container: RuntimeContainer,
    process: ProcessSpec,
    use: TerminalUse,
    signal: AbortSignal,
  ): Promise<RunningExec> {
    const { consoleSize } = process;
    const size: TerminalSize | undefined =
      consoleSize === undefined ? undefined : { rows: consoleSize.height, columns: consoleSize.width };
    return this.launch(container, process, signal, (invocation, launched, signal) =>
      runOnTerminal(invocation.command(), { size, use }, launched, signal),
    );
  }

  /**
   * Starts a command with `start`, which launches the runtime with the command's streams, and resolves when it has done
   * so.
   */
  async launch(
    container: RuntimeContainer,
    process: ProcessSpec,
    signal: AbortSignal,
    start: (
      invocation: ExecInvocation,
      launched: (program: Launched) => void,
      signal: AbortSignal,
    ) => Promise<number | null>,
  ): Promise<RunningExec> {
    const { promise, resolve, reject } = Promise.withResolvers<Launched>();
    const ended = this.#exec(container, process, signal, async ({ name, command }, signal) => {
      // The runtime's own messages, apart from the command's output.
      const log = join(container.bundleDir, `${name}.log`);
      const logged = (options: readonly string[] = []) => command(options, ["--log", log]);
      const code = await start({ name, command: logged }, resolve, signal);
      return {
        code,
        stdout: Buffer.alloc(0),
        stderr: code === 0 || !existsSync(log) ? Buffer.alloc(0) : readFileSync(log),
      };
    }).then(exitCodeOf);
    // Once it is launched, neither has an effect.
    ended.then(
      () =>
        reject(
          new StatusError(Code.ResourceExhausted, `exec in container ${container.id}: cannot take over its terminal`),
        ),
      reject,
    );
    const { streams, resize } = await promise;
    return { streams, resize, ended };
  }

  /** Runs the runtime's exec by `start`. Whatever happens, nothing of it is left behind. */
  async #exec<R extends Finished>(
    container: RuntimeContainer,
    process: ProcessSpec,
    signal: AbortSignal,
    start: (invocation: ExecInvocation, signal: AbortSignal) => Promise<R>,
  ): Promise<R> {
    const { command: runtime, options: ownOptions, kill, detaches } = this.#o;
    const name = `exec-${(this.#execs += 1)}`;
    const base = join(container.bundleDir, name);
    using files = new DisposableStack();
    files.defer(() => {
      for (const kind of ["json", "pid", "inner", "log"]) rmSync(`${base}.${kind}`, { force: true });
    });
    writeJson(`${base}.json`, process);
    const owner = streamOwnerIn(container, process);
    using gentle = new GentleAbort(signal, () => existsSync(`${base}.pid`));
    using end = new RuntimeEnd();
    const onAbort = () => {
      const hasStarted = existsSync(`${base}.pid`);
      kill(base, container);
      end.in(hasStarted ? reapGraceMs : 0, signal.reason);
    };
    gentle.signal.addEventListener("abort", onAbort, { once: true });
    const waiter = detaches ? execWaiter(`${base}.pid`) : undefined;
    const command: ExecInvocation["command"] = (options = [], runtimeOptions = []) => {
      const execOptions = [
        ...(detaches ? ["--detach"] : []),
        ...options,
        "--process",
        `${base}.json`,
        "--pid-file",
        `${base}.pid`,
        ...(ownOptions?.(base) ?? []),
      ];
      const runtimeArgs = [...runtime.globalArgs, ...runtimeOptions, "exec", ...execOptions, container.id];
      return {
        file: waiter?.file ?? runtime.path,
        args: waiter === undefined ? runtimeArgs : [...waiter.args, runtime.path, ...runtimeArgs],
        env: { PATH: globalThis.process.env["PATH"] },
        // crun passes on its own, which is keelsond's and may mean to be killed last.
        oomScoreAdj: process.oomScoreAdj,
        streamOwner: owner,
      };
    };
    const result = await start({ name, command }, end.signal);
    signal.throwIfAborted();
    // Without a pid file the command was never started, and the text on stderr is the runtime's. Mostly the command is
    // wrong.
    if (result.code !== 0 && !existsSync(`${base}.pid`)) {
      throw runtime.failure(
        `exec ${process.args?.[0] ?? ""} in container ${container.id}`,
        result,
        Code.FailedPrecondition,
      );
    }
    return result;
  }
}
