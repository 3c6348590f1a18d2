import { SeqpacketSocket } from "@keelson/linux/seqpacket.ts";
import type { LogStream } from "./entries.ts";

/** A packet's first byte. */
const streamBytes: Readonly<Record<LogStream, number>> = { stdout: 2, stderr: 3 };

/** How much of the output a packet holds, in bytes. */
const maxPacketBytes = 8192;

/** How long a client may leave a container waiting, in ms. */
const stallMs = 5000;

/** A client that is attached to a container: it gets the output, and may send input. */
export class AttachedClient {
  readonly #socket: SeqpacketSocket;
  #stall: NodeJS.Timeout | undefined;

  /** @param on `drained`: it has taken what held up the container. `input` returns false to pause the client until `resume`. */
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
      this.#stall = undefined;
      on.drained();
    });
    this.#socket.once("close", () => {
      clearTimeout(this.#stall);
      on.closed();
    });
  }

  /** Whether it has to take what it was sent before more is sent. */
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

  /** Closes the connection once the client has taken what it was sent, or has stalled. */
  end(): void {
    this.#socket.end();
    this.#socket.resume();
    this.#stall ??= setTimeout(() => this.#socket.destroy(), stallMs);
  }
}
