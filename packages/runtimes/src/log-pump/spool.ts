import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { spliceToFile } from "@keelson/linux/pipe.ts";

/** What was last written to the log, or begun to be. */
interface Append {
  /** The log's inode, and where in it the entries begin and end. */
  readonly ino: bigint;
  readonly logFrom: bigint;
  readonly logTo: bigint;
  /** The output that they are made of, as offsets in the spool. */
  readonly from: number;
  readonly to: number;
}

const magic = 0x6b6c_6f67_0000_0001n;
/** An append's six numbers, before the output. */
const headBytes = 64;

/** What the spool may hold before it is emptied, cutting a line if it must. */
export const spoolLimitBytes = 1024 * 1024;

const spliceBytes = 256 * 1024;

/**
 * Output between a container's FIFO and its log, in a file: whenever the program is killed, each byte is in the FIFO, in
 * the spool, or in the log, and it can be told where. splice(2) moves it into the file in one step. Before entries are
 * appended to the log, where they go is written into the spool's head; what is found half done is taken back and done again.
 */
export class Spool implements Disposable {
  readonly #fd: number;
  /** Where the file ends. */
  #end: number;
  /** How far its output is in the log. */
  #done: number;

  /** `logSize` tells how long the log with that inode is, undefined when there is none. `takeBack` cuts it to a size. */
  constructor(
    path: string,
    logSize: (ino: bigint) => bigint | undefined,
    takeBack: (ino: bigint, size: bigint) => void,
  ) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#end = Math.max(headBytes, fstatSync(this.#fd).size);
    const append = this.#readHead();
    this.#done = append?.from ?? headBytes;
    if (append === undefined) return;
    const size = logSize(append.ino);
    // Nobody else writes to the log, so whatever is behind its end was written after it.
    if (size !== undefined && size >= append.logTo) this.#done = append.to;
    else if (size !== undefined && size > append.logFrom) takeBack(append.ino, append.logFrom);
  }

  /** Output that is not in the log. */
  get pendingBytes(): number {
    return this.#end - this.#done;
  }

  get isFull(): boolean {
    return this.#end >= spoolLimitBytes;
  }

  /** Takes what a FIFO has; returns that, empty when there is nothing now, undefined at its end. Throws SystemError. */
  take(fifo: number): Buffer | undefined {
    if (this.#done === this.#end && this.#end > headBytes) this.#clear();
    const bytes = spliceToFile(fifo, this.#fd, this.#end, spliceBytes);
    if (bytes === 0) return undefined;
    if (bytes < 0) return Buffer.alloc(0);
    const taken = this.#read(this.#end, bytes);
    this.#end += bytes;
    return taken;
  }

  pending(): Buffer {
    return this.#read(this.#done, this.pendingBytes);
  }

  /** Before the entries of the next `used` bytes are appended to a log. */
  begin(used: number, ino: bigint, logFrom: bigint, entriesBytes: number): void {
    this.#writeHead({ ino, logFrom, logTo: logFrom + BigInt(entriesBytes), from: this.#done, to: this.#done + used });
  }

  /** When they are, or are given up. */
  finish(used: number): void {
    this.#done += used;
  }

  /** The log is another one from now on: what was appended to the one before is no longer looked for. */
  settle(): void {
    this.#writeHead({ ino: 0n, logFrom: 0n, logTo: 0n, from: this.#done, to: this.#done });
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  /** The head goes with the output: both say that there is none. */
  #clear(): void {
    ftruncateSync(this.#fd, 0);
    this.#end = this.#done = headBytes;
  }

  #read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    let read = 0;
    while (read < length) {
      const n = readSync(this.#fd, bytes, read, length - read, offset + read);
      if (n === 0) break;
      read += n;
    }
    return bytes.subarray(0, read);
  }

  #readHead(): Append | undefined {
    const head = this.#read(0, headBytes);
    if (head.length < headBytes || head.readBigUInt64LE(0) !== magic) return undefined;
    const [ino, logFrom, logTo, from, to] = [8, 16, 24, 32, 40].map((at) => head.readBigUInt64LE(at)) as [
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    return { ino, logFrom, logTo, from: Number(from), to: Number(to) };
  }

  /** One write within one page: it is there or not. */
  #writeHead({ ino, logFrom, logTo, from, to }: Append): void {
    const head = Buffer.alloc(headBytes);
    for (const [i, value] of [magic, ino, logFrom, logTo, BigInt(from), BigInt(to)].entries())
      head.writeBigUInt64LE(value, 8 * i);
    writeSync(this.#fd, head, 0, headBytes, 0);
  }
}
