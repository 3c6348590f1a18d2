import { closeSync, constants, openSync, rmSync, truncateSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "@keelson/base/status.ts";
import { Poll, pollReadable } from "@keelson/linux/poll.ts";
import { AttachedClient } from "./attached-client.ts";
import { entriesOf, type LogStream } from "./entries.ts";
import { LogClock } from "./log-clock.ts";
import { findLog, lastEntryNs, LogFile } from "./log-file.ts";
import type { PumpedContainer } from "./messages.ts";
import { Spool } from "./spool.ts";

/** How long the beginning of a line waits for the rest of it, in ms. */
const lineMs = 100;

/** How many times a FIFO is read in one turn, so that a busy container leaves the others their turns. */
const roundsInTurn = 8;

/** How many times to wait on for an ended container's streams that still bring output: others may have them open for good. */
const maxStillRounds = 10;

interface Source {
  readonly stream: LogStream;
  readonly fifo: number;
  readonly spool: Spool;
  readonly poll: Poll;
  hasEnded: boolean;
}

interface PumpEvents {
  readonly stdinClosed: () => void;
  readonly warn: (text: string) => void;
}

/** Copies a container's output from its FIFOs to its log and to attached clients, and their input to the container. */
export class ContainerPump {
  readonly #c: PumpedContainer;
  readonly #on: PumpEvents;
  readonly #log: LogFile | undefined;
  readonly #sources: Source[];
  readonly #clients = new Set<AttachedClient>();
  /** One for both streams, which share the log. */
  readonly #clock: LogClock;
  readonly #ended = Promise.withResolvers<void>();
  #stdin: Socket | undefined;
  #lineTimer: NodeJS.Timeout | undefined;
  #takenBytes = 0;
  #isClosed = false;
  #cannotWrite = false;

  /** Throws when the log or a FIFO cannot be opened. */
  constructor(container: PumpedContainer, on: PumpEvents) {
    this.#c = container;
    this.#on = on;
    using undo = new DisposableStack();
    this.#log = container.logPath === "" ? undefined : undo.use(new LogFile(container.logPath));
    const streams: LogStream[] = container.tty ? ["stdout"] : ["stdout", "stderr"];
    this.#sources = streams.map((stream) => this.#open(stream, undo));
    // After a spool may have taken back the log's last entries.
    this.#clock = new LogClock(container.logPath === "" ? undefined : lastEntryNs(container.logPath));
    if (container.stdin) this.#stdin = this.#openStdin();
    for (const source of this.#sources) {
      // Output that an earlier daemon left in the spool.
      this.#write(source);
      source.poll.want(pollReadable);
    }
    this.#waitForLines();
    undo.move();
  }

  attach(fd: number): void {
    const client = new AttachedClient(fd, {
      drained: () => this.#goOn(),
      input: (bytes) => this.#stdin?.write(bytes) ?? true,
      inputEnded: () => this.#inputEnded(),
      closed: () => {
        this.#clients.delete(client);
        this.#inputEnded();
        this.#goOn();
      },
    });
    this.#clients.add(client);
  }

  reopenLog(): void {
    if (this.#log?.reopen() === true) for (const { spool } of this.#sources) spool.settle();
  }

  /** Copies until the streams have ended, or nothing comes for that long; then closes them. */
  async close(stillMs: number): Promise<void> {
    // When nobody has opened a FIFO for writing since we opened it, only reading shows its end.
    for (const source of this.#sources) this.#read(source);
    this.#checkEnd();
    for (let round = 0; round < maxStillRounds; round += 1) {
      const before = this.#takenBytes;
      const hasEnded = await Promise.race([this.#ended.promise.then(() => true), delay(stillMs, false)]);
      if (hasEnded || this.#takenBytes === before) break;
    }
    this.#release();
  }

  #open(stream: LogStream, undo: DisposableStack): Source {
    const fifo = undo.adopt(openSync(join(this.#c.dir, stream), constants.O_RDONLY | constants.O_NONBLOCK), closeSync);
    const { logPath } = this.#c;
    const sizeOf = (ino: bigint) => (logPath === "" ? undefined : findLog(logPath, ino)?.size);
    const takeBack = (ino: bigint, size: bigint) => truncateSync(findLog(logPath, ino)!.path, Number(size));
    const spool = undo.use(new Spool(join(this.#c.dir, `${stream}.spool`), sizeOf, takeBack));
    const source: Source = {
      stream,
      fifo,
      spool,
      hasEnded: false,
      poll: undo.use(new Poll(fifo, () => this.#read(source))),
    };
    return source;
  }

  /** Opened for reading too: so it can be opened before the shim does, and the pipe never breaks. */
  #openStdin(): Socket {
    const fd = openSync(join(this.#c.dir, "stdin"), constants.O_RDWR | constants.O_NONBLOCK);
    const stdin = new Socket({ fd, readable: false, writable: true });
    stdin.on("error", () => stdin.destroy());
    stdin.on("drain", () => {
      for (const client of this.#clients) client.resume();
    });
    return stdin;
  }

  #inputEnded(): void {
    if (!this.#c.stdinOnce || this.#stdin === undefined) return;
    const stdin = this.#stdin;
    this.#stdin = undefined;
    stdin.end(() => this.#on.stdinClosed());
  }

  /** One container's error must not end the thread. */
  #read(source: Source): void {
    try {
      this.#copy(source);
    } catch (error) {
      this.#on.warn(`its ${source.stream} is not read any more: ${messageOf(error)}`);
      source.hasEnded = true;
      source.poll.want(0);
      this.#checkEnd();
    }
  }

  #copy(source: Source): void {
    for (let round = 0; round < roundsInTurn && !source.hasEnded && !this.#isClosed; round += 1) {
      if (this.#isHeldUp()) break;
      const bytes = source.spool.take(source.fifo);
      if (bytes === undefined) {
        source.hasEnded = true;
        source.poll.want(0);
        this.#write(source, "F");
        this.#checkEnd();
        return;
      }
      if (bytes.length === 0) break;
      this.#takenBytes += bytes.length;
      for (const client of this.#clients) client.send(source.stream, bytes);
      this.#write(source, source.spool.isFull ? "P" : undefined);
    }
    this.#waitForLines();
    if (this.#isHeldUp()) for (const { poll } of this.#sources) poll.want(0);
  }

  #isHeldUp(): boolean {
    return [...this.#clients].some((client) => client.isBlocked);
  }

  #goOn(): void {
    if (this.#isClosed || this.#isHeldUp()) return;
    for (const source of this.#sources) if (!source.hasEnded) source.poll.want(pollReadable);
  }

  /** Moves the spool's output to the log. */
  #write({ spool, stream }: Source, flush?: "P" | "F"): void {
    if (spool.pendingBytes === 0) return;
    const { bytes, used } =
      this.#log === undefined
        ? { bytes: Buffer.alloc(0), used: spool.pendingBytes }
        : entriesOf(spool.pending(), { stream, time: this.#clock.now(), flush });
    if (used === 0) return;
    if (this.#log !== undefined) {
      spool.begin(used, this.#log.place, bytes.length);
      this.#append(this.#log, bytes);
    }
    spool.finish(used);
  }

  /** What a full disk does not take is lost, and the container runs on, as with every runtime. */
  #append(log: LogFile, bytes: Buffer): void {
    try {
      log.append(bytes);
      this.#cannotWrite = false;
    } catch (error) {
      if (!this.#cannotWrite) this.#on.warn(`output is lost: its log cannot be written: ${messageOf(error)}`);
      this.#cannotWrite = true;
    }
  }

  #waitForLines(): void {
    if (this.#lineTimer !== undefined || this.#isClosed || this.#sources.every(({ spool }) => spool.pendingBytes === 0))
      return;
    this.#lineTimer = setTimeout(() => {
      this.#lineTimer = undefined;
      for (const source of this.#sources) this.#write(source, "P");
    }, lineMs);
  }

  #checkEnd(): void {
    if (this.#sources.every((source) => source.hasEnded)) this.#ended.resolve();
  }

  #release(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#lineTimer);
    for (const source of this.#sources) {
      this.#write(source, "F");
      source.poll[Symbol.dispose]();
      closeSync(source.fifo);
      source.spool[Symbol.dispose]();
      rmSync(join(this.#c.dir, `${source.stream}.spool`), { force: true });
    }
    this.#stdin?.destroy();
    for (const client of this.#clients) client.end();
    this.#log?.[Symbol.dispose]();
  }
}
