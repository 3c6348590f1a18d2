import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { type Bootstrap, maxBootstrapBytes, parseBootstrap } from "./bootstrap.ts";
import { DeleteResponse } from "./gen/containerd/task/v2/task.ts";
import { Any } from "./gen/google/protobuf/known.ts";
import { type CallLimits, decodeMessage } from "./service-client.ts";

/** A shim's binary, and what all of its commands are given. */
export interface ShimProgram {
  /** Absolute path. */
  readonly file: string;
  /** Keeps the containers of several daemons apart; also a part of the names of the shims' sockets. */
  readonly namespace: string;
  /** containerd's socket for its clients. Shims derive the names of their own sockets from it; few ever call it. */
  readonly address: string;
  /** The path of the socket that takes the shim's events. */
  readonly eventsPath: string;
  /** A program that publishes an event, for shims that cannot do so by ttrpc: `FILE --address A publish --topic T --namespace N`. */
  readonly publishBinary: string;
  /** More environment variables, such as a PATH. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The directory with a container's config.json. Its last part is the id. */
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

/** Runs a command to its end; after its timeout kills it and throws a TimeoutError. Discards output beyond the limits. */
export type RunCommand = (command: Command, signal: AbortSignal) => Promise<CommandResult>;

/** Which shim is run for which container, and who runs it. */
export interface ShimCommand {
  readonly run: RunCommand;
  readonly program: ShimProgram;
  readonly bundle: Bundle;
}

/** How much of a command's error output is kept, in bytes. */
const keptErrorBytes = 4096;

/** How long to read on after a command's end: processes that it leaves behind may hold its streams open. */
const drainMs = 200;

/** The newest version of the shim protocol that we speak. */
const maxShimVersion = 3;

/**
 * Starts a shim for the container of a bundle, or gets the address of the shim that already serves its pod. Throws what
 * `run` throws, Internal with the shim's own words, FailedPrecondition for a shim whose protocol we do not speak.
 *
 * @param options of the runtime, which newer shims read at their start too.
 */
export async function startShim(
  command: ShimCommand,
  options: Any | undefined,
  limits: CallLimits,
): Promise<Bootstrap> {
  const doing = `start the shim ${command.program.file}`;
  const stdin = options === undefined ? Buffer.alloc(0) : Any.encode(options).finish();
  const output = await outputOf(command, { doing, args: ["start"], stdin }, limits);
  try {
    return parseBootstrap(output);
  } catch (error) {
    throw wrapError(doing, error);
  }
}

/**
 * Removes what a container whose shim is gone has left behind. Throws what `run` throws, and Internal with the shim's own
 * words or for an answer that cannot be read.
 */
export async function deleteWithShim(command: ShimCommand, limits: CallLimits): Promise<DeleteResponse> {
  const doing = `clean up with the shim ${command.program.file}`;
  const args = ["-bundle", command.bundle.dir, "delete"];
  const output = await outputOf(command, { doing, args, stdin: Buffer.alloc(0) }, limits);
  return decodeMessage(DeleteResponse, output, maxBootstrapBytes, doing);
}

async function outputOf(
  { run, program, bundle }: ShimCommand,
  { doing, args, stdin }: Pick<Command, "args" | "stdin"> & { readonly doing: string },
  { timeoutMs, signal }: CallLimits,
): Promise<Buffer> {
  const { file, namespace, address, eventsPath, publishBinary, env } = program;
  const command: Command = {
    file,
    args: ["-namespace", namespace, "-address", address, "-publish-binary", publishBinary, "-id", bundle.id, ...args],
    env: {
      ...env,
      TTRPC_ADDRESS: eventsPath,
      GRPC_ADDRESS: address,
      NAMESPACE: namespace,
      MAX_SHIM_VERSION: String(maxShimVersion),
      // As containerd does: shims written in Go need no more threads.
      GOMAXPROCS: "2",
    },
    cwd: bundle.dir,
    stdin,
    stdoutLimitBytes: maxBootstrapBytes + 1,
    stderrLimitBytes: keptErrorBytes,
    timeoutMs,
    drainMs,
  };
  const result = await run(command, signal).catch((error: unknown) => {
    if (signal.aborted || !(error instanceof Error && error.name === "TimeoutError")) throw wrapError(doing, error);
    const problem = `it did not end within ${timeoutMs / 1000} s, and was killed`;
    throw new StatusError(Code.DeadlineExceeded, `${doing}: ${problem}`, error);
  });
  if (result.code === 0) return result.stdout;
  const words = (result.stderr.length > 0 ? result.stderr : result.stdout).toString("utf8", 0, keptErrorBytes).trim();
  const end = result.code === null ? "a signal ended it" : `exit code ${result.code}`;
  throw new StatusError(Code.Internal, `${doing}: ${words === "" ? "it says nothing" : words} (${end})`);
}
