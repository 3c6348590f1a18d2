import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { execWaiter } from "@keelson/linux/exec-waiter.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import { run } from "@keelson/linux/run.ts";
import type { SpawnOptions } from "@keelson/linux/spawn.ts";
import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { type Launched, runOnPipes, runOnTerminal, type TerminalUse } from "./exec-streams.ts";
import { GentleAbort, RuntimeEnd } from "./gentle-abort.ts";
import { exitCodeOf, type Finished, type RuntimeCommand } from "./runtime-command.ts";
import type { ExecResult, RunningExec, RuntimeContainer } from "./runtime.ts";
import { writeJson } from "./write-json.ts";

/** What is kept of each stream of an exec, in bytes; both peers cap ExecSync so. */
const maxExecOutputBytes = 16 * 1024 * 1024;

/**
 * How long a runtime has for its own end after its command was killed, in ms. It reaps the command; killed before that,
 * a zombie would be in the container for as long as the machine's init takes.
 */
const reapGraceMs = 1000;

/** One call of the runtime's exec. */
export interface ExecInvocation {
  /** What its files in the bundle are called. */
  readonly name: string;
  /** The command line, with more options of `exec` and before it. */
  readonly command: (
    options?: readonly string[],
    runtimeOptions?: readonly string[],
  ) => Pick<SpawnOptions, "file" | "args" | "env" | "oomScoreAdj">;
}

export interface RuntimeExecOptions {
  readonly command: RuntimeCommand;
  /**
   * Whether the runtime is to leave its commands to themselves, and something lighter waits for them: runc copies between
   * a command's streams and its own and waits for the end of both, which background processes may hold open for good.
   */
  readonly detaches: boolean;
  /** More options of `exec`, by the path of its files without their ending. */
  readonly options?: (base: string) => readonly string[];
  /** Kills a command with all that it started. Called when `base.pid` is there, and when it is not. */
  readonly kill: (base: string, container: RuntimeContainer) => void;
}

/** Commands in containers by `RUNTIME exec`, which waits for them. */
export class RuntimeExec {
  readonly #o: RuntimeExecOptions;
  #execs = 0;

  constructor(options: RuntimeExecOptions) {
    this.#o = options;
  }

  /** Runs a command to its end; when the signal aborts, kills it with all that it started. */
  async run(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<ExecResult> {
    const result = await this.#exec(container, process, signal, ({ command }, signal) =>
      // stdin: never /dev/null, which crun would give to the container's user.
      run(
        {
          ...command(),
          stdin: new Uint8Array(),
          stdoutLimitBytes: maxExecOutputBytes,
          stderrLimitBytes: maxExecOutputBytes,
        },
        signal,
      ),
    );
    return { exitCode: exitCodeOf(result), stdout: result.stdout, stderr: result.stderr, truncated: result.truncated };
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
      runOnTerminal(invocation.command(), size, use, launched, signal),
    );
  }

  /** Resolves when `start` has launched the runtime with its streams. */
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
      // The runtime's own words, apart from the command's.
      const log = join(container.bundleDir, `${name}.log`);
      const logged = (options: readonly string[] = []) => command(options, ["--log", log]);
      const code = await start({ name, command: logged }, resolve, signal);
      return {
        code,
        stdout: Buffer.alloc(0),
        stderr: code === 0 || !existsSync(log) ? Buffer.alloc(0) : readFileSync(log),
      };
    }).then(exitCodeOf);
    // Neither counts once it is launched.
    ended.then(
      () =>
        reject(
          new StatusError(
            Code.ResourceExhausted,
            `exec in container ${container.id}: its terminal cannot be taken over`,
          ),
        ),
      reject,
    );
    const { streams, resize } = await promise;
    return { streams, resize, ended };
  }

  /** Runs the runtime's exec in one way or another, and sees that nothing of it is left, whatever happens. */
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
        // crun leaves it as its own, which is keelsond's and may be next to never killed.
        oomScoreAdj: process.oomScoreAdj,
      };
    };
    const result = await start({ name, command }, end.signal);
    signal.throwIfAborted();
    // No pid file: the command was never started, and what is on stderr is the runtime's. Mostly the command is wrong.
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
