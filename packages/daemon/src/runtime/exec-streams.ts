import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import type { ConsoleSocket } from "@keelson/linux/console-socket.ts";
import { closeFd, createPipe } from "@keelson/linux/pipe.ts";
import { Pty, TerminalMaster, type TerminalSize } from "@keelson/linux/pty.ts";
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

/** How often a runtime that may not have looked yet is told of a new size, in ms after it. */
const resizeAgainMs = [100, 500];

type Command = Pick<SpawnOptions, "file" | "args" | "env" | "oomScoreAdj">;

/**
 * Runs a program to its end with streams through real pipes, which it can open again as /dev/stdout. It leads a session
 * of its own, which is killed when the signal aborts; then this throws the reason.
 */
export async function runOnPipes(command: Command, streams: ExecStreams, signal: AbortSignal): Promise<StreamedRun> {
  return await runStreamed(signal, (keep, ours) => {
    using pipes = new Pipes();
    // Never /dev/null: crun gives what it gets to the container's user.
    const [input, output, errors] = [pipes.make(true), pipes.make(false), pipes.make(false)];
    const child = spawn({ ...command, newSession: true, fds: [input.theirs, output.theirs, errors.theirs] });
    if (streams.stdin !== undefined) feed(streams.stdin, ours.adopt(input.take(false), destroy));
    const pumps = [
      new OutputPump(ours.adopt(output.take(true), destroy), streams.stdout),
      new OutputPump(ours.adopt(errors.take(true), destroy), streams.stderr, keep),
    ];
    return Promise.resolve({ child, pumps });
  });
}

/** The same with a terminal that the program makes and hands over on the console socket. */
export async function runOnConsole(command: Command, streams: ExecStreams, socket: ConsoleSocket, signal: AbortSignal): Promise<StreamedRun & { readonly hadTerminal: boolean }> {
  let hadTerminal = false;
  const result = await runStreamed(signal, async (keep, ours) => {
    using pipes = new Pipes();
    const [input, output, errors] = [pipes.make(true), pipes.make(false), pipes.make(false)];
    const child = spawn({ ...command, newSession: true, fds: [input.theirs, output.theirs, errors.theirs] });
    const pumps = [new OutputPump(ours.adopt(errors.take(true), destroy), undefined, keep)];
    await Promise.race([socket.master, child.exited, aborted(signal)]);
    socket.look();
    socket[Symbol.dispose]();
    const fd = await socket.master;
    if (fd === undefined) {
      // Mostly it has ended by itself. A command whose terminal nobody has would run on unseen.
      child.killGroup("SIGKILL");
      return { child, pumps };
    }
    hadTerminal = true;
    const terminal = ours.use(new TerminalMaster(fd));
    followSizes(streams, (size) => terminal.resize(size));
    if (streams.stdin !== undefined) feed(streams.stdin, terminal.stream, false);
    return { child, pumps: [...pumps, new OutputPump(terminal.stream, streams.stdout)] };
  });
  return { ...result, hadTerminal };
}

/** The same with a terminal of ours, for a program that copies between its own terminal and the one that it makes. */
export async function runOnTerminal(command: Command, streams: ExecStreams, signal: AbortSignal): Promise<StreamedRun> {
  return await runStreamed(signal, (keep, ours) => {
    using pipes = new Pipes();
    const pty = ours.use(new Pty());
    // The program's own words, apart from the terminal.
    const errors = pipes.make(false);
    if (streams.sizes?.last !== undefined) pty.master.resize(streams.sizes.last);
    const child = spawn({ ...command, newSession: true, fds: [pty.slaveFd, pty.slaveFd, errors.theirs] });
    pty.closeSlave();
    followSizes(streams, (size) => {
      pty.master.resize(size);
      child.kill("SIGWINCH");
      // It may not listen yet.
      for (const ms of resizeAgainMs) setTimeout(() => child.kill("SIGWINCH"), ms).unref();
    });
    if (streams.stdin !== undefined) feed(streams.stdin, pty.master.stream, false);
    const pumps = [new OutputPump(pty.master.stream, streams.stdout), new OutputPump(ours.adopt(errors.take(true), destroy), undefined, keep)];
    return Promise.resolve({ child, pumps });
  });
}

interface Started {
  readonly child: Child;
  readonly pumps: readonly OutputPump[];
}

async function runStreamed(signal: AbortSignal, start: (keep: (bytes: Buffer) => void, ours: DisposableStack) => Promise<Started>): Promise<StreamedRun> {
  signal.throwIfAborted();
  using ours = new DisposableStack();
  const kept: Buffer[] = [];
  let keptBytes = 0;
  const keep = (bytes: Buffer): void => {
    if (keptBytes >= keptErrorBytes) return;
    kept.push(bytes.subarray(0, keptErrorBytes - keptBytes));
    keptBytes += bytes.length;
  };
  const { child, pumps } = await start(keep, ours);
  const onAbort = (): void => void child.killGroup("SIGKILL");
  signal.addEventListener("abort", onAbort, { once: true });
  ours.defer(() => signal.removeEventListener("abort", onAbort));
  if (signal.aborted) onAbort();
  const { code } = await child.exited;
  signal.throwIfAborted();
  await drained(pumps, signal);
  return { code, stderr: Buffer.concat(kept), stdout: Buffer.alloc(0) };
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(undefined), { once: true }));
}

/** From the last one that is known. */
function followSizes({ sizes }: ExecStreams, use: (size: TerminalSize) => void): void {
  if (sizes?.last !== undefined) use(sizes.last);
  sizes?.follow(use);
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
