import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { spliceToFile } from "@keelson/linux/pipe.ts";
import type { LogPlace } from "./log-file.ts";

/** What was last appended to the log, or was to be. */
interface Append {
  /** The log's inode, and where in it the entries begin and end. */
  readonly ino: bigint;
  readonly logFrom: bigint;
  readonly logTo: bigint;
  /** The output in these entries, as offsets in the spool. */
  readonly from: number;
  readonly to: number;
}

const magic = 0x6b6c_6f67_0000_0001n;
/** The file begins with the magic number and an `Append`; the output follows. */
const headBytes = 64;

/** How much the spool may hold before it is emptied, even if that cuts a line. */
const spoolLimitBytes = 1024 * 1024;

const spliceBytes = 256 * 1024;

/**
 * A file for output on its way from a container's FIFO to its log. Whenever the program is killed, each byte is in the
 * FIFO, in the spool or in the log, and it is known which. splice(2) moves output into the file in one step. Before entries
 * are appended to the log, the spool's head says where they go; what is found half done is taken back and done again.
 */
export class Spool implements Disposable {
  readonly #fd: number;
  /** Where the file ends. */
  #end: number;
  /** Up to where its output is in the log. */
  #done: number;

  /** `logSize` says how long the log with that inode is, undefined when it does not exist. `takeBack` cuts it to a size. */
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
    // Nobody else writes to the log, so whatever follows these entries was written after them.
    if (size !== undefined && size >= append.logTo) this.#done = append.to;
    else if (size !== undefined && size > append.logFrom) takeBack(append.ino, append.logFrom);
  }

  /** How much output is not in the log yet. */
  get pendingBytes(): number {
    return this.#end - this.#done;
  }

  get isFull(): boolean {
    return this.#end >= spoolLimitBytes;
  }

  /** Takes what a FIFO holds, and returns it: empty when there is nothing now, undefined at the end. Throws SystemError. */
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

  /** To be called before the entries of the next `used` bytes are appended at the end of a log. */
  begin(used: number, { ino, size }: LogPlace, entriesBytes: number): void {
    const [logTo, to] = [size + BigInt(entriesBytes), this.#done + used];
    this.#writeHead({ ino, logFrom: size, logTo, from: this.#done, to });
  }

  /** To be called when they are appended, or given up. */
  finish(used: number): void {
    this.#done += used;
  }

  /** To be called when the log is another file from now on: what was appended to the one before is not looked for any more. */
  settle(): void {
    this.#writeHead({ ino: 0n, logFrom: 0n, logTo: 0n, from: this.#done, to: this.#done });
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  /** The head goes too: there is no output any more that it could be about. */
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

  /** A single write within one page: it takes effect as a whole or not at all. */
  #writeHead({ ino, logFrom, logTo, from, to }: Append): void {
    const head = Buffer.alloc(headBytes);
    for (const [i, value] of [magic, ino, logFrom, logTo, BigInt(from), BigInt(to)].entries())
      head.writeBigUInt64LE(value, 8 * i);
    writeSync(this.#fd, head, 0, headBytes, 0);
  }
}
