import type { Readable, Writable } from "node:stream";
import { type Io, note, type Output } from "../io.ts";
import type { RemoteCommand } from "./command-streams.ts";
import { DetachScanner } from "./detach-keys.ts";
import type { ExitStatus } from "./exit-status.ts";

export interface RunOptions {
  /** Whether the command has a terminal, which is then connected with ours. */
  readonly tty: boolean;
  /** The keys that detach; empty for none. */
  readonly detachKeys: Uint8Array;
}

/** How it ended: the command has ended, or the user has detached. */
export type RunEnd = { readonly is: "ended"; readonly status: ExitStatus } | { readonly is: "detached" };

/**
 * Joins our stdin, stdout and stderr with a command's until it has ended. Our terminal is restored when this returns or
 * throws. Throws the signal's reason on an interrupt, Unavailable when the connection is lost.
 */
export async function runRemoteCommand(
  io: Io,
  remote: RemoteCommand,
  { tty, detachKeys }: RunOptions,
): Promise<RunEnd> {
  using cleanup = new DisposableStack();
  cleanup.use(remote);
  // Nobody waits for it when we hang up first.
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
        "over this runtime's WebSocket the command does not see the end of stdin; use --transport spdy if it has to",
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

/** Sends the size now, and whenever it changes. */
function followSize(output: Output, remote: RemoteCommand): Disposable {
  const send = () => remote.resize({ width: output.columns, height: output.rows });
  send();
  return output.onResize(send);
}

/** Passes stdin on until it ends, the command reads no more, or the user detaches; only then true. */
async function passStdin(input: Readable, stdin: Writable, scanner: DetachScanner): Promise<boolean> {
  try {
    // The terminal is still needed after this, to restore it.
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
    // We have hung up, or the command reads no more, as `head` does when it has enough. `ended` reports the rest.
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
