import { fchownSync } from "node:fs";
import type { ConsoleSocket } from "@keelson/linux/console-socket.ts";
import { closeFd, createPipe } from "@keelson/linux/pipe.ts";
import { Pty, TerminalMaster, type TerminalSize } from "@keelson/linux/pty.ts";
import { type Child, spawn, type SpawnOptions } from "@keelson/linux/spawn.ts";
import type { ExecStreams } from "./runtime.ts";
import type { StreamOwner } from "./stream-owner.ts";

/** A program that was launched with the streams of a command. */
export interface Launched {
  /** The receiver closes them. */
  readonly streams: ExecStreams;
  readonly resize: (size: TerminalSize) => void;
}

/**
 * The capacity of pipes; Linux' own is 64 KiB. On a busy machine no more than that gets through each time that its
 * reader gets a turn. They take memory only as they fill: for output it is the container's, which may have little.
 */
const pipeBytes = { input: 1024 * 1024, output: 256 * 1024 };

/** When to tell a runtime again that the size has changed, as it may not listen yet, in ms after the change. */
const resizeAgainMs = [100, 500];

interface Command extends Pick<SpawnOptions, "file" | "args" | "env" | "oomScoreAdj"> {
  /** Of pipes that become the command's streams; default: us. */
  readonly streamOwner?: StreamOwner;
}

/**
 * Runs a program to its end with real pipes, so that it can reopen them as /dev/stdout. It leads a session of its own,
 * which is killed when the signal aborts. Returns its exit code, null when a signal ended it.
 */
export async function runOnPipes(
  command: Command,
  launched: (program: Launched) => void,
  signal: AbortSignal,
): Promise<number | null> {
  using pipes = new Pipes();
  // Never /dev/null: crun changes the owner of its streams to the container's user.
  const [input, output, errors] = [pipes.make("input"), pipes.make("output"), pipes.make("output")];
  const { streamOwner: owner } = command;
  if (owner !== undefined) for (const { theirs } of [input, output, errors]) fchownSync(theirs, owner.uid, owner.gid);
  const child = pipes.spawn(command, [input.theirs, output.theirs, errors.theirs]);
  launched({
    streams: { is: "pipes", stdin: input.take(), stdout: output.take(), stderr: errors.take() },
    resize: () => {},
  });
  return await endOf(child, signal);
}

/**
 * The same with a terminal that the program creates and hands over on the console socket. When it does not, `launched`
 * is not called.
 */
export async function runOnConsole(
  command: Command,
  socket: ConsoleSocket,
  launched: (program: Launched) => void,
  signal: AbortSignal,
): Promise<number | null> {
  using pipes = new Pipes();
  const child = pipes.spawn(command, [
    pipes.make("input").theirs,
    pipes.make("output").theirs,
    pipes.make("output").theirs,
  ]);
  const end = endOf(child, signal);
  await Promise.race([socket.master, end]);
  socket.receiveNow();
  socket[Symbol.dispose]();
  const fd = await socket.master;
  // Mostly the program has ended by itself. If not: a command whose terminal nobody has must not run on unseen.
  if (fd === undefined) {
    child.killGroup("SIGKILL");
    return await end;
  }
  using master = new TerminalMaster(fd);
  launched({ streams: { is: "terminal", master: master.duplicate() }, resize: (size) => master.resize(size) });
  return await end;
}

/**
 * What a program does with a terminal of ours: it copies between that and one that it creates, or passes it on to its
 * command as all three streams.
 */
export type TerminalUse = "copied" | "handed on";

interface TerminalOptions {
  readonly size: TerminalSize | undefined;
  readonly use: TerminalUse;
}

/** The same with a terminal of ours. */
export async function runOnTerminal(
  command: Command,
  { size, use }: TerminalOptions,
  launched: (program: Launched) => void,
  signal: AbortSignal,
): Promise<number | null> {
  using pipes = new Pipes();
  using pty = new Pty(use === "copied" ? "raw" : "cooked");
  if (size !== undefined) pty.master.resize(size);
  // Where possible, the program's own messages are kept off the terminal.
  const child = pipes.spawn(
    command,
    [pty.slaveFd, pty.slaveFd, use === "copied" ? pipes.make("output").theirs : pty.slaveFd],
    { takesTerminal: use === "handed on" },
  );
  pty.closeSlave();
  const resize = (size: TerminalSize) => {
    pty.master.resize(size);
    child.kill("SIGWINCH");
    // It may not listen for the signal yet.
    for (const ms of resizeAgainMs) setTimeout(() => child.kill("SIGWINCH"), ms).unref();
  };
  launched({ streams: { is: "terminal", master: pty.master.duplicate() }, resize });
  return await endOf(child, signal);
}

async function endOf(child: Child, signal: AbortSignal): Promise<number | null> {
  const onAbort = (): void => void child.killGroup("SIGKILL");
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const { code } = await child.exited;
  signal.removeEventListener("abort", onAbort);
  return code;
}

interface Pipe {
  /** The child's end, which we close once the child has it. */
  readonly theirs: number;
  /** Hands over our end. */
  take(): number;
}

/**
 * Pipes to a child. Our ends that nobody has taken stay open until this is disposed, so that the child can write to
 * them.
 */
class Pipes implements Disposable {
  readonly #ours = new DisposableStack();
  readonly #theirs = new DisposableStack();

  make(direction: "input" | "output"): Pipe {
    const { readFd, writeFd } = createPipe(pipeBytes[direction]);
    const [theirs, mine] = direction === "input" ? [readFd, writeFd] : [writeFd, readFd];
    let isTaken = false;
    this.#theirs.adopt(theirs, closeFd);
    this.#ours.defer(() => {
      if (!isTaken) closeFd(mine);
    });
    return { theirs, take: () => ((isTaken = true), mine) };
  }

  /** Starts the child as the leader of a session, and closes the ends that it now has. */
  spawn(command: Command, fds: readonly number[], options: Pick<SpawnOptions, "takesTerminal"> = {}): Child {
    const { file, args = [], env = process.env, oomScoreAdj } = command;
    const child = spawn({ file, args, env, oomScoreAdj, ...options, newSession: true, fds });
    this.#theirs.dispose();
    return child;
  }

  [Symbol.dispose](): void {
    this.#theirs.dispose();
    this.#ours.dispose();
  }
}
