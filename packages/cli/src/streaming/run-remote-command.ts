import type { Readable, Writable } from "node:stream";
import { type Io, note, type Output } from "../io.ts";
import type { RemoteCommand } from "./command-streams.ts";
import { DetachScanner } from "./detach-keys.ts";
import type { ExitStatus } from "./exit-status.ts";

export interface RunOptions {
  /** Whether the command has a terminal; ours is then its keyboard and screen. */
  readonly tty: boolean;
  /** What detaches when it is typed; empty for nothing. */
  readonly detachKeys: Uint8Array;
}

/** How it ended: the command has, or the user has left it. */
export type RunEnd = { readonly is: "ended"; readonly status: ExitStatus } | { readonly is: "detached" };

/**
 * Joins our stdin, stdout and stderr with a command's until it has ended. Our terminal is as before when this returns
 * or throws. Throws the signal's reason on an interrupt, Unavailable when the connection is lost.
 */
export async function runRemoteCommand(
  io: Io,
  remote: RemoteCommand,
  { tty, detachKeys }: RunOptions,
): Promise<RunEnd> {
  using cleanup = new DisposableStack();
  cleanup.use(remote);
  // When we hang up first, nobody waits for it.
  remote.ended.catch(() => {});
  const detached = Promise.withResolvers<RunEnd>();
  if (tty && io.stdout.isTerminal) cleanup.use(followSize(io.stdout, remote));
  if (remote.stdin !== undefined) {
    const input = io.stdin.open();
    cleanup.defer(() => void input.destroy());
    if (tty && io.stdin.isTerminal) {
      io.stdin.setRaw(true);
      cleanup.defer(() => io.stdin.setRaw(false));
    }
    if (!remote.hasStdinEnd && !io.stdin.isTerminal)
      await note(
        io,
        "this runtime's WebSocket cannot tell the command that stdin has ended; with --transport spdy it can",
      );
    void passStdin(input, remote.stdin, new DetachScanner(detachKeys)).then((isDetached) => {
      if (isDetached) detached.resolve({ is: "detached" });
    });
  }
  const outputs = Promise.allSettled([passOutput(remote.stdout, io.stdout), passOutput(remote.stderr, io.stderr)]);
  const ended = outputs.then(async (): Promise<RunEnd> => ({ is: "ended", status: await remote.ended }));
  ended.catch(() => {});
  return await Promise.race([ended, detached.promise, interrupted(io.signal)]);
}

/** The size comes first, then whenever it changes. */
function followSize(output: Output, remote: RemoteCommand): Disposable {
  const tell = () => remote.resize({ width: output.columns, height: output.rows });
  tell();
  return output.onResize(tell);
}

/** Passes stdin on until it ends, the command takes no more, or the user detaches. */
async function passStdin(input: Readable, stdin: Writable, scanner: DetachScanner): Promise<boolean> {
  try {
    // The terminal is needed once more, to put it back.
    for await (const chunk of input.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      const { passed, isDetached } = scanner.scan(chunk);
      if (passed.length > 0)
        await new Promise<void>((resolve, reject) =>
          stdin.write(passed, (error) => (error ? reject(error) : resolve())),
        );
      if (isDetached) return true;
    }
    stdin.end();
  } catch {
    // Given up by us, or no longer read by the command, as when `head` has seen enough: how it ends tells the rest.
  }
  return false;
}

async function passOutput(output: Readable | undefined, to: Output): Promise<void> {
  for await (const chunk of (output ?? []) as AsyncIterable<Buffer>) await to.write(chunk);
}

function interrupted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {});
  const onAbort = () => reject(signal.reason as Error);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return promise;
}
