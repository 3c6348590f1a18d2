import { Duplex } from "node:stream";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { Poll, pollReadable, pollWritable } from "./poll.ts";

/** How many packets to read in one turn, so that a busy socket does not keep the others waiting. */
const packetsInTurn = 16;

/** Connects to the packet socket `name` in the directory `dir`; the caller has to close the fd. Throws SystemError. */
export function connectSeqpacket(dir: string, name: string): number {
  return native.connectSeqpacket(dir, name);
}

/** Two connected packet sockets, whose fds the caller has to close. Throws SystemError. */
export function seqpacketPair(): { a: number; b: number } {
  return native.seqpacketPair();
}

/**
 * A connected unix packet socket, SOCK_SEQPACKET (unix(7)), which net.Socket does not support. Each chunk that is read
 * or written is one packet; `end()` shuts down our direction. When the peer takes no more, what is written is discarded,
 * what it had sent can still be read to its end, and then the socket closes. Other errors are SystemErrors.
 */
export class SeqpacketSocket extends Duplex {
  readonly #fd: number;
  readonly #poll: Poll;
  readonly #buffer: Buffer;
  #wantsToRead = false;
  #writing:
    | { readonly packets: readonly Buffer[]; sent: number; readonly done: (error?: Error | null) => void }
    | undefined;
  #isRefused = false;

  /**
   * Takes over the fd, and closes it when it throws. Throws SystemError.
   *
   * @param maxPacketBytes how much of a packet is read; the rest of a longer one is lost, recv(2)
   */
  constructor(fd: number, maxPacketBytes: number) {
    super({ readableObjectMode: false, highWaterMark: 4 * maxPacketBytes });
    this.#fd = fd;
    this.#buffer = Buffer.allocUnsafeSlow(maxPacketBytes);
    try {
      this.#poll = new Poll(this.#fd, (events) => this.#ready(events));
    } catch (error) {
      closeFd(this.#fd);
      throw error;
    }
  }

  override _read(): void {
    this.#wantsToRead = true;
    this.#ask();
  }

  override _write(packet: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#writing = { packets: [packet], sent: 0, done };
    this.#send();
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#writing = { packets: chunks.map(({ chunk }) => chunk), sent: 0, done };
    this.#send();
  }

  override _final(done: (error?: Error | null) => void): void {
    native.shutdownWrite(this.#fd);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#poll[Symbol.dispose]();
    closeFd(this.#fd);
    done(error);
  }

  #ask(): void {
    if (!this.destroyed)
      this.#poll.want((this.#wantsToRead ? pollReadable : 0) | (this.#writing === undefined ? 0 : pollWritable));
  }

  #ready(events: number): void {
    try {
      if ((events & pollWritable) !== 0) this.#send();
      if ((events & pollReadable) !== 0) this.#receive();
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #receive(): void {
    for (let i = 0; i < packetsInTurn && this.#wantsToRead && !this.destroyed; i += 1) {
      const bytes = native.receivePacket(this.#fd, this.#buffer);
      if (bytes < 0) break;
      if (bytes === 0) this.#wantsToRead = false;
      const goesOn = this.push(bytes === 0 ? null : Buffer.from(this.#buffer.subarray(0, bytes)));
      if (!goesOn) this.#wantsToRead = false;
    }
    this.#ask();
  }

  /** Nothing more can be written, and it closes when everything is read. */
  #refused(): void {
    this.#isRefused = true;
    const close = () => setImmediate(() => this.destroy());
    if (this.readableEnded) close();
    else this.once("end", close);
  }

  #send(): void {
    const writing = this.#writing;
    if (writing === undefined) return;
    let error: Error | undefined;
    try {
      for (; writing.sent < writing.packets.length && !this.#isRefused; writing.sent += 1) {
        if (native.sendPacket(this.#fd, writing.packets[writing.sent]!)) continue;
        this.#ask();
        return;
      }
    } catch (caught) {
      // An error here would end the reading, too.
      if (isErrno(caught, "EPIPE", "ECONNRESET")) this.#refused();
      else error = caught as Error;
    }
    this.#writing = undefined;
    this.#ask();
    writing.done(error);
  }
}
