import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { type Bootstrap, maxBootstrapBytes, parseBootstrap } from "./bootstrap.ts";
import { DeleteResponse } from "./gen/containerd/task/v2/task.ts";
import { Any } from "./gen/google/protobuf/known.ts";
import { decodeMessage } from "./service-client.ts";

/** A shim's binary and what all of its commands are told. */
export interface ShimProgram {
  /** Absolute path. */
  readonly file: string;
  /** Keeps the containers of several daemons apart; also a part of the shim's sockets' names. */
  readonly namespace: string;
  /** containerd's socket to its clients. Shims make the names of their own sockets of it, and few ever call it. */
  readonly address: string;
  /** The path of the socket that takes the shim's events. */
  readonly eventsPath: string;
  /** Run to publish an event by a shim that knows no ttrpc for it: `FILE --address A publish --topic T --namespace N`. */
  readonly publishBinary: string;
  /** More of its environment, such as a PATH. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Where a container's config.json is. Its last part is the id. */
export interface Bundle {
  readonly id: string;
  readonly dir: string;
}

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: Uint8Array;
  readonly stdoutLimitBytes: number;
  readonly stderrLimitBytes: number;
  readonly timeoutMs: number;
  readonly drainMs: number;
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** Runs a command to its end and kills it, with a TimeoutError, after its timeout. What of the outputs is beyond the limits is thrown away. */
export type RunCommand = (command: Command, signal: AbortSignal) => Promise<CommandResult>;

/** Of what a command says about its failure, in bytes. */
const keptErrorBytes = 4096;

/** How long to read on after a command's end: what it leaves behind may hold its streams open. */
const drainMs = 200;

/** The newest version of the shim protocol that we speak. */
const maxShimVersion = 3;

/**
 * Starts a shim for the container of a bundle, or gets the address of the one that serves its pod already. Throws what
 * `run` throws, Internal with the shim's own words, FailedPrecondition for a shim that we do not speak with.
 *
 * @param options of the runtime, which newer shims read at their start too.
 */
export async function startShim(
  run: RunCommand,
  program: ShimProgram,
  bundle: Bundle,
  options: Any | undefined,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Bootstrap> {
  const doing = `start the shim ${program.file}`;
  const stdin = options === undefined ? Buffer.alloc(0) : Any.encode(options).finish();
  const result = await runCommand(
    run,
    program,
    bundle,
    doing,
    { args: ["start"], stdin, timeoutMs, stdoutLimitBytes: maxBootstrapBytes + 1 },
    signal,
  );
  try {
    return parseBootstrap(result.stdout);
  } catch (error) {
    throw wrapError(doing, error);
  }
}

/**
 * Removes what a container of a shim that is gone has left. Throws what `run` throws, Internal with the shim's own
 * words, and for an answer that is none.
 */
export async function deleteWithShim(
  run: RunCommand,
  program: ShimProgram,
  bundle: Bundle,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<DeleteResponse> {
  const doing = `clean up with the shim ${program.file}`;
  const args = ["-bundle", bundle.dir, "delete"];
  const result = await runCommand(
    run,
    program,
    bundle,
    doing,
    { args, stdin: Buffer.alloc(0), timeoutMs, stdoutLimitBytes: maxBootstrapBytes + 1 },
    signal,
  );
  return decodeMessage(DeleteResponse, result.stdout, maxBootstrapBytes, doing);
}

type Wanted = Pick<Command, "args" | "stdin" | "timeoutMs" | "stdoutLimitBytes">;

async function runCommand(
  run: RunCommand,
  program: ShimProgram,
  bundle: Bundle,
  doing: string,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<CommandResult> {
  const { file, namespace, address, eventsPath, publishBinary, env } = program;
  const command: Command = {
    ...wanted,
    file,
    args: [
      "-namespace",
      namespace,
      "-address",
      address,
      "-publish-binary",
      publishBinary,
      "-id",
      bundle.id,
      ...wanted.args,
    ],
    env: {
      ...env,
      TTRPC_ADDRESS: eventsPath,
      GRPC_ADDRESS: address,
      NAMESPACE: namespace,
      MAX_SHIM_VERSION: String(maxShimVersion),
      // As containerd has it: the shims in Go need no more threads.
      GOMAXPROCS: "2",
    },
    cwd: bundle.dir,
    stderrLimitBytes: keptErrorBytes,
    drainMs,
  };
  const result = await asDone(doing, wanted.timeoutMs, run(command, signal), signal);
  if (result.code === 0) return result;
  const words = (result.stderr.length > 0 ? result.stderr : result.stdout).toString("utf8", 0, keptErrorBytes).trim();
  throw new StatusError(
    Code.Internal,
    `${doing}: ${words === "" ? "it says nothing" : words} (${result.code === null ? "a signal ended it" : `exit code ${result.code}`})`,
  );
}

async function asDone(
  doing: string,
  timeoutMs: number,
  running: Promise<CommandResult>,
  signal: AbortSignal,
): Promise<CommandResult> {
  try {
    return await running;
  } catch (error) {
    if (signal.aborted || !(error instanceof Error && error.name === "TimeoutError")) throw wrapError(doing, error);
    throw new StatusError(
      Code.DeadlineExceeded,
      `${doing}: it did not end within ${timeoutMs / 1000} s, and was killed`,
      error,
    );
  }
}
