import { SeqpacketSocket } from "@keelson/linux/seqpacket.ts";
import type { LogStream } from "./entries.ts";

/** A packet's first byte. */
const streamBytes: Readonly<Record<LogStream, number>> = { stdout: 2, stderr: 3 };

/** What a packet holds beside that, in bytes. */
const maxPacketBytes = 8192;

/** How long a client may leave a container waiting, in ms. */
const stallMs = 5000;

/** Somebody who is attached to a container: gets what it writes, and may write its input. */
export class AttachedClient {
  readonly #socket: SeqpacketSocket;
  #stall: NodeJS.Timeout | undefined;

  /** @param onDrained when it has taken what held the container up; @param onInput returns false to be paused until `resume`. */
  constructor(
    fd: number,
    on: { drained: () => void; input: (bytes: Buffer) => boolean; inputEnded: () => void; closed: () => void },
  ) {
    this.#socket = new SeqpacketSocket(fd, maxPacketBytes + 1);
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("data", (bytes: Buffer) => {
      if (!on.input(bytes)) this.#socket.pause();
    });
    this.#socket.once("end", on.inputEnded);
    this.#socket.on("drain", () => {
      clearTimeout(this.#stall);
      on.drained();
    });
    this.#socket.once("close", () => {
      clearTimeout(this.#stall);
      on.closed();
    });
  }

  /** Whether it has to take something before more may come. */
  get isBlocked(): boolean {
    return !this.#socket.destroyed && this.#socket.writableNeedDrain;
  }

  send(stream: LogStream, bytes: Buffer): void {
    for (let at = 0; at < bytes.length && !this.#socket.destroyed; at += maxPacketBytes) {
      this.#socket.write(Buffer.concat([Buffer.of(streamBytes[stream]), bytes.subarray(at, at + maxPacketBytes)]));
    }
    if (!this.isBlocked) return;
    clearTimeout(this.#stall);
    this.#stall = setTimeout(() => this.#socket.destroy(), stallMs);
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Lets it take what it was sent. */
  end(): void {
    this.#socket.end();
    this.#socket.resume();
    this.#stall ??= setTimeout(() => this.#socket.destroy(), stallMs);
  }
}
