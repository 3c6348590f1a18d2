import { fchownSync } from "node:fs";
import { Socket } from "node:net";
import { closeFd, createPipe } from "./pipe.ts";
import { spawn } from "./spawn.ts";
import type { Child, SpawnOptions } from "./spawn.ts";

export interface RunOptions extends Omit<SpawnOptions, "fds" | "newSession"> {
  /** Written to its stdin. Default: stdin is /dev/null. */
  stdin?: Uint8Array;
  /** The owner of the pipes; default: us. */
  pipeOwner?: { readonly uid: number; readonly gid: number };
  /** How much to keep of each; the rest is read and discarded. Default: 1 MiB. */
  stdoutLimitBytes?: number;
  stderrLimitBytes?: number;
  /** Called with what it writes, none of which is then kept. The bytes are valid only during the call. */
  onStdout?: (bytes: Buffer) => void;
  onStderr?: (bytes: Buffer) => void;
  /** After this time it is killed, and the call rejects with a TimeoutError. */
  timeoutMs?: number;
  /** How long to go on reading after its end, if a process that it left behind holds stdout open. Default: 1000. */
  drainMs?: number;
}

export interface RunResult {
  code: number | null;
  signal: string | null;
  stdout: Buffer;
  stderr: Buffer;
  /** Whether there was more output than the limits allow. */
  truncated: boolean;
}

interface Collected {
  done: Promise<void>;
  bytes(): Buffer;
  isTruncated(): boolean;
  socket: Socket;
}

/** How much is read at once, in bytes: what a pipe holds, mostly. */
const readBytes = 64 * 1024;

/** Reads are handed on before the next begins, so one buffer serves all. */
let sharedBuffer: Buffer | undefined;

/** Hands on what comes and keeps nothing. */
function handOn(fd: number, onBytes: (bytes: Buffer) => void): Collected {
  const buffer = (sharedBuffer ??= Buffer.allocUnsafeSlow(readBytes));
  const callback = (length: number): boolean => (onBytes(buffer.subarray(0, length)), true);
  const socket = new Socket({ fd, readable: true, writable: false, onread: { buffer, callback } });
  socket.resume();
  const done = new Promise<void>((resolve) => {
    socket.on("error", () => socket.destroy());
    socket.on("close", () => resolve());
  });
  return { done, bytes: () => Buffer.alloc(0), isTruncated: () => false, socket };
}

function collect(fd: number, limitBytes: number): Collected {
  const chunks: Buffer[] = [];
  let size = 0;
  let isTruncated = false;
  const socket = new Socket({ fd, readable: true, writable: false });
  const done = new Promise<void>((resolve) => {
    socket.on("error", () => socket.destroy());
    socket.on("close", () => resolve());
  });
  socket.on("data", (chunk: Buffer) => {
    const room = limitBytes - size;
    if (chunk.length > room) isTruncated = true;
    if (room <= 0) return;
    const kept = chunk.length > room ? chunk.subarray(0, room) : chunk;
    chunks.push(kept);
    size += kept.length;
  });
  return { done, bytes: () => Buffer.concat(chunks), isTruncated: () => isTruncated, socket };
}

/** How long to wait for a killed process to end, in ms; one in uninterruptible sleep does not. */
const killGraceMs = 2000;

/**
 * Runs a program to its end and collects its output, through real pipes. It leads a new session, and on abort its whole
 * process group is killed; a process that the kernel does not let go is left behind. Throws SystemError when it cannot
 * be started, and the signal's reason when aborted; an exit code other than 0 is a result.
 */
export async function run(options: RunOptions, signal?: AbortSignal): Promise<RunResult> {
  signal?.throwIfAborted();
  using ours = new DisposableStack();
  let child: Child;
  let stdin: Socket | undefined;
  let stdout: Collected;
  let stderr: Collected;
  {
    using theirs = new DisposableStack();
    // Once the child is started, sockets take over our fds; until then a failure closes them.
    using undo = new DisposableStack();
    const pipe = (isInput: boolean): { childFd: number; ourFd: number } => {
      const { readFd, writeFd } = createPipe();
      const [childFd, ourFd] = isInput ? [readFd, writeFd] : [writeFd, readFd];
      theirs.adopt(childFd, closeFd);
      undo.adopt(ourFd, closeFd);
      if (options.pipeOwner !== undefined) fchownSync(childFd, options.pipeOwner.uid, options.pipeOwner.gid);
      return { childFd, ourFd };
    };
    const input = options.stdin === undefined ? undefined : pipe(true);
    const output = pipe(false);
    const errors = pipe(false);
    child = spawn({ ...options, newSession: true, fds: [input?.childFd ?? "null", output.childFd, errors.childFd] });
    undo.move();
    const { onStdout, onStderr, stdoutLimitBytes = 1 << 20, stderrLimitBytes = 1 << 20 } = options;
    stdout = onStdout === undefined ? collect(output.ourFd, stdoutLimitBytes) : handOn(output.ourFd, onStdout);
    stderr = onStderr === undefined ? collect(errors.ourFd, stderrLimitBytes) : handOn(errors.ourFd, onStderr);
    if (input !== undefined) stdin = new Socket({ fd: input.ourFd, readable: false, writable: true });
  }
  ours.defer(() => {
    stdin?.destroy();
    stdout.socket.destroy();
    stderr.socket.destroy();
  });
  stdin?.on("error", () => stdin.destroy()); // EPIPE: it may not read all of it
  if (options.stdin !== undefined) stdin?.end(options.stdin);

  let abortReason: unknown;
  let isAborted = false;
  const unkillable = Promise.withResolvers<undefined>();
  const abort = (reason: unknown): void => {
    if (isAborted) return;
    isAborted = true;
    abortReason = reason;
    child.killGroup("SIGKILL");
    const timer = setTimeout(() => unkillable.resolve(undefined), killGraceMs);
    ours.defer(() => clearTimeout(timer));
  };
  const onAbort = (): void => abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  ours.defer(() => signal?.removeEventListener("abort", onAbort));
  if (options.timeoutMs !== undefined) {
    const timer = setTimeout(
      () => abort(new DOMException(`${options.file} did not end within ${options.timeoutMs} ms`, "TimeoutError")),
      options.timeoutMs,
    );
    ours.defer(() => clearTimeout(timer));
  }

  const status = await Promise.race([child.exited, unkillable.promise]);
  if (isAborted || status === undefined) throw abortReason;
  const { code, signal: endedBy } = status;
  const drained = Promise.all([stdout.done, stderr.done]);
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([drained, new Promise((resolve) => (timer = setTimeout(resolve, options.drainMs ?? 1000)))]);
  clearTimeout(timer);
  return {
    code,
    signal: endedBy,
    stdout: stdout.bytes(),
    stderr: stderr.bytes(),
    truncated: stdout.isTruncated() || stderr.isTruncated(),
  };
}
