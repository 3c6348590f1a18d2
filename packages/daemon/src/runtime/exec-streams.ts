import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { closeFd, createPipe } from "@keelson/linux/pipe.ts";
import { Pty, resizePtyOf, type TerminalSize } from "@keelson/linux/pty.ts";
import { type Child, spawn, type SpawnOptions } from "@keelson/linux/spawn.ts";
import { drained, OutputPump } from "./output-pump.ts";

/** The streams of a command that runs while somebody reads and writes them. */
export interface ExecStreams {
  /** Its end is the command's end of input, which comes at once when there is none. */
  readonly stdin: Readable | undefined;
  /** With a terminal, all output. What nobody reads is thrown away. */
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** The terminal's sizes, for a command that has one. */
  readonly sizes: { readonly last: TerminalSize | undefined; follow(listener: (size: TerminalSize) => void): void } | undefined;
}

export interface StreamedRun {
  /** null when a signal ended it. */
  readonly code: number | null;
  /** The first of what came on stderr, where runtimes say why they could not start a command. */
  readonly stderr: Buffer;
  readonly stdout: Buffer;
}

/** What of stderr is kept for an error. */
const keptErrorBytes = 4096;

/** How long after another a new size is tried again, in ms, and how often. */
const resizeAgainMs = 20;
const maxResizeTries = 250;

/**
 * Runs a program to its end with streams through real pipes, which it can open again as /dev/stdout, or through a
 * terminal of ours. It leads a session of its own, which is killed when the signal aborts; then this throws the reason.
 */
export async function runStreamed(command: Pick<SpawnOptions, "file" | "args" | "env">, streams: ExecStreams, hasTerminal: boolean, signal: AbortSignal): Promise<StreamedRun> {
  signal.throwIfAborted();
  using ours = new DisposableStack();
  const kept: Buffer[] = [];
  let keptBytes = 0;
  const keep = (bytes: Buffer): void => {
    if (keptBytes >= keptErrorBytes) return;
    kept.push(bytes.subarray(0, keptErrorBytes - keptBytes));
    keptBytes += bytes.length;
  };
  const { child, pumps } = hasTerminal ? startOnTerminal(command, streams, keep, ours) : startOnPipes(command, streams, keep, ours);
  const onAbort = (): void => void child.killGroup("SIGKILL");
  signal.addEventListener("abort", onAbort, { once: true });
  ours.defer(() => signal.removeEventListener("abort", onAbort));
  const { code } = await child.exited;
  signal.throwIfAborted();
  await drained(pumps, signal);
  return { code, stderr: Buffer.concat(kept), stdout: Buffer.alloc(0) };
}

interface Started {
  readonly child: Child;
  readonly pumps: OutputPump[];
}

type Command = Pick<SpawnOptions, "file" | "args" | "env">;

function startOnPipes(command: Command, streams: ExecStreams, keep: (bytes: Buffer) => void, ours: DisposableStack): Started {
  using pipes = new Pipes();
  // Never /dev/null: crun gives what it gets to the container's user.
  const [input, output, errors] = [pipes.make(true), pipes.make(false), pipes.make(false)];
  const child = spawn({ ...command, newSession: true, fds: [input.theirs, output.theirs, errors.theirs] });
  if (streams.stdin !== undefined) feed(streams.stdin, ours.adopt(input.take(false), destroy));
  const pumps = [
    new OutputPump(ours.adopt(output.take(true), destroy), streams.stdout),
    new OutputPump(ours.adopt(errors.take(true), destroy), streams.stderr, keep),
  ];
  return { child, pumps };
}

function startOnTerminal(command: Command, streams: ExecStreams, keep: (bytes: Buffer) => void, ours: DisposableStack): Started {
  using pipes = new Pipes();
  const pty = ours.use(new Pty());
  // The runtime's own words, apart from the terminal.
  const errors = pipes.make(false);
  const { sizes } = streams;
  if (sizes?.last !== undefined) pty.resize(sizes.last);
  const child = spawn({ ...command, newSession: true, fds: [pty.slaveFd, pty.slaveFd, errors.theirs] });
  pty.closeSlave();
  const resizer = ours.use(new Resizer(pty, child));
  sizes?.follow((size) => {
    if (!ours.disposed) resizer.resize(size);
  });
  if (streams.stdin !== undefined) feed(streams.stdin, pty.stream, false);
  const pumps = [new OutputPump(pty.stream, streams.stdout), new OutputPump(ours.adopt(errors.take(true), destroy), undefined, keep)];
  return { child, pumps };
}

/**
 * The runtime copies between our terminal and the container's. runc passes a new size on, crun 1.8 does not, so it is
 * set where the command sees it, as soon as there is such a terminal.
 */
class Resizer implements Disposable {
  readonly #pty: Pty;
  readonly #child: Child;
  #timer: NodeJS.Timeout | undefined;

  constructor(pty: Pty, child: Child) {
    this.#pty = pty;
    this.#child = child;
  }

  resize(size: TerminalSize, tries = maxResizeTries): void {
    clearTimeout(this.#timer);
    this.#pty.resize(size);
    if (resizePtyOf(this.#child, size)) return;
    this.#timer = setTimeout(() => this.resize(size, tries - 1), resizeAgainMs);
    if (tries === 0) this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** Copies a client's input as fast as the command takes it. What the command does not want is read and thrown away. */
function feed(source: Readable, sink: Socket, endsSink = true): void {
  sink.on("error", () => sink.destroy());
  sink.on("close", () => {
    source.off("data", onData);
    source.resume();
  });
  const onData = (bytes: Buffer): void => {
    if (!sink.destroyed && !sink.write(bytes)) source.pause();
  };
  sink.on("drain", () => source.resume());
  source.on("data", onData);
  // On a terminal the end of input is a key, not a state.
  if (endsSink) source.once("end", () => sink.end());
}

function destroy(socket: Socket): void {
  socket.destroy();
}

/** Pipes to a child: its ends are closed with this, ours when nobody has taken them. */
class Pipes implements Disposable {
  readonly #fds = new DisposableStack();

  make(isInput: boolean): { readonly theirs: number; take(readable: boolean): Socket } {
    const { readFd, writeFd } = createPipe();
    const [theirs, mine] = isInput ? [readFd, writeFd] : [writeFd, readFd];
    let isTaken = false;
    this.#fds.adopt(theirs, closeFd);
    this.#fds.defer(() => {
      if (!isTaken) closeFd(mine);
    });
    return {
      theirs,
      take(readable) {
        isTaken = true;
        return new Socket({ fd: mine, readable, writable: !readable });
      },
    };
  }

  [Symbol.dispose](): void {
    this.#fds.dispose();
  }
}
