import { accessSync, constants, statfsSync } from "node:fs";
import { basename } from "node:path";
import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { run, type RunResult } from "@keelson/linux/run.ts";
import { GentleAbort } from "./gentle-abort.ts";
import { runtimeMessage } from "./monitor-pipe.ts";

export interface RuntimeCommandOptions {
  /** The handler's name, for errors. */
  readonly name: string;
  /** Absolute path of the runtime's binary. */
  readonly path: string;
  /** Where the runtime keeps its state. */
  readonly root: string;
  readonly args: readonly string[];
  readonly systemdCgroup: boolean;
}

/** How a command of a runtime ended, as far as errors say so. */
export type Finished = Pick<RunResult, "code" | "stdout" | "stderr">;

/** Runs the commands of an OCI runtime, and explains their failures. */
export class RuntimeCommand {
  readonly name: string;
  readonly path: string;
  readonly root: string;
  /** The arguments before each command. */
  readonly globalArgs: readonly string[];
  readonly #systemdArgs: readonly string[];

  constructor({ name, path, root, args, systemdCgroup }: RuntimeCommandOptions) {
    this.name = name;
    this.path = path;
    this.root = root;
    this.globalArgs = [`--root=${root}`, ...args];
    this.#systemdArgs = systemdCgroup ? ["--systemd-cgroup"] : [];
  }

  /** Throws FailedPrecondition when the binary is gone; an exit code other than 0 is a result. */
  async run(args: readonly string[], signal: AbortSignal): Promise<RunResult> {
    using gentle = new GentleAbort(signal, () => false);
    try {
      return await run(
        {
          file: this.path,
          args: [...this.globalArgs, ...this.#systemdArgs, ...args],
          env: { PATH: process.env["PATH"] },
        },
        gentle.signal,
      );
    } catch (error) {
      throw signal.aborted ? error : this.explained(error, []);
    }
  }

  /**
   * Names the cause of an error when a runtime or monitor does not name it clearly: a missing binary, or a full file system
   * of `dirs`.
   */
  explained(error: unknown, dirs: readonly string[]): unknown {
    if (codeOf(error) !== Code.Internal) return error;
    const { name, path } = this;
    if (!isExecutable(path)) {
      return new StatusError(
        Code.FailedPrecondition,
        `the OCI runtime ${path} of the handler ${name} is not there any more; install ${basename(path)} again, or set runtimes.${name}.path (${messageOf(error)})`,
        error,
      );
    }
    const full = dirs.find(isFull);
    if (full === undefined) return error;
    return new StatusError(
      Code.ResourceExhausted,
      `${messageOf(error)}; no room or no inodes are left on the file system of ${full}: free some, or make it larger`,
      error,
    );
  }

  failure(doing: string, result: Finished, code: Code = Code.Internal): StatusError {
    const text = result.stderr.length > 0 ? result.stderr : result.stdout;
    return new StatusError(
      code,
      `${doing} with ${this.name}: ${runtimeMessage(text.toString())} (exit code ${exitCodeOf(result)})`,
    );
  }
}

export function exitCodeOf(result: Pick<Finished, "code">): number {
  // The shell's convention for a process that a signal ended.
  return result.code ?? 137;
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether nothing more fits on a directory's file system. One that does not count inodes says 0 of 0. */
function isFull(dir: string): boolean {
  const { bavail, files, ffree } = statfsSync(dir);
  return bavail === 0 || (files > 0 && ffree === 0);
}
