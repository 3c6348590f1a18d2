import type { ConsoleSocket } from "@keelson/linux/console-socket.ts";
import { closeFd, createPipe } from "@keelson/linux/pipe.ts";
import { Pty, TerminalMaster, type TerminalSize } from "@keelson/linux/pty.ts";
import { type Child, spawn, type SpawnOptions } from "@keelson/linux/spawn.ts";
import type { ExecStreams } from "./runtime.ts";

/** A program that runs with the streams of a command. */
export interface Launched {
  /** Whoever is handed them closes them. */
  readonly streams: ExecStreams;
  readonly resize: (size: TerminalSize) => void;
}

/**
 * What pipes hold; Linux' own is 64 KiB. On a busy machine no more than that passes each time that its reader gets a
 * turn. They take memory only as they fill: that of an output is the container's, which may have little.
 */
const pipeBytes = { input: 1024 * 1024, output: 256 * 1024 };

/** How often a runtime that may not have looked yet is told of a new size, in ms after it. */
const resizeAgainMs = [100, 500];

type Command = Pick<SpawnOptions, "file" | "args" | "env" | "oomScoreAdj">;

/**
 * Runs a program to its end with real pipes, which it can open again as /dev/stdout. It leads a session of its own, which
 * is killed when the signal aborts. Returns its exit code, null when a signal ended it.
 */
export async function runOnPipes(
  command: Command,
  launched: (program: Launched) => void,
  signal: AbortSignal,
): Promise<number | null> {
  using pipes = new Pipes();
  // Never /dev/null: crun gives what it gets to the container's user.
  const [input, output, errors] = [pipes.make("input"), pipes.make("output"), pipes.make("output")];
  const child = pipes.spawn(command, [input.theirs, output.theirs, errors.theirs]);
  launched({
    streams: { is: "pipes", stdin: input.take(), stdout: output.take(), stderr: errors.take() },
    resize: () => {},
  });
  return await endOf(child, signal);
}

/**
 * The same with a terminal that the program makes and hands over on the console socket; `launched` is not called when it
 * does not.
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
  socket.look();
  socket[Symbol.dispose]();
  const fd = await socket.master;
  // Mostly it has ended by itself. A command whose terminal nobody has would run on unseen.
  if (fd === undefined) {
    child.killGroup("SIGKILL");
    return await end;
  }
  using master = new TerminalMaster(fd);
  launched({ streams: { is: "terminal", master: master.duplicate() }, resize: (size) => master.resize(size) });
  return await end;
}

/**
 * What a program does with a terminal of ours: it copies between that and one that it makes, or gives it to its command,
 * as all three streams.
 */
export type TerminalUse = "copied" | "handed on";

/** The same with a terminal of ours. */
export async function runOnTerminal(
  command: Command,
  size: TerminalSize | undefined,
  use: TerminalUse,
  launched: (program: Launched) => void,
  signal: AbortSignal,
): Promise<number | null> {
  using pipes = new Pipes();
  using pty = new Pty(use === "copied" ? "raw" : "cooked");
  if (size !== undefined) pty.master.resize(size);
  // Where they can be, the program's own words are kept off the terminal.
  const child = pipes.spawn(
    command,
    [pty.slaveFd, pty.slaveFd, use === "copied" ? pipes.make("output").theirs : pty.slaveFd],
    { takesTerminal: use === "handed on" },
  );
  pty.closeSlave();
  const resize = (size: TerminalSize) => {
    pty.master.resize(size);
    child.kill("SIGWINCH");
    // It may not listen yet.
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
  /** The child's end; ours to close when it has it. */
  readonly theirs: number;
  /** Hands our end over. */
  take(): number;
}

/** Pipes to a child. Ends of ours that nobody has taken are open as long as this, so that the child can write what nobody reads. */
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

  /** Leader of a session of its own. Closes the child's ends, which it has now. */
  spawn(command: Command, fds: readonly number[], options: Pick<SpawnOptions, "takesTerminal"> = {}): Child {
    const child = spawn({ ...command, ...options, newSession: true, fds });
    this.#theirs.dispose();
    return child;
  }

  [Symbol.dispose](): void {
    this.#theirs.dispose();
    this.#ours.dispose();
  }
}
