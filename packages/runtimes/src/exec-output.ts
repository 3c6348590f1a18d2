/** How much is kept of each stream of a command, in bytes; containerd and CRI-O cap ExecSync likewise. */
export const maxKeptBytes = 16 * 1024 * 1024;

/** The sizes of the first and of the largest block, in bytes. Each block is twice as large as the one before. */
export const firstBlockBytes = 16 * 1024;
const largestBlockBytes = 1024 * 1024;

/** Whether that many more bytes of memory may be used for output. */
export type TakeMemory = (bytes: number) => boolean;

/**
 * What a command writes, in memory of its own, which is given back by `free` and does not wait for the garbage collector.
 * Small pieces are put together, so that a command that writes single bytes takes no more memory than others.
 */
export class ExecOutput implements Disposable {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;

  /** @param take asked before more memory is used. When it refuses, what comes from then on is thrown away. */
  constructor(take: TakeMemory) {
    this.stdout = new OutputStream(take);
    this.stderr = new OutputStream(take);
  }

  /** Whether there was more than is kept. */
  get isTruncated(): boolean {
    return this.stdout.isTruncated || this.stderr.isTruncated;
  }

  [Symbol.dispose](): void {
    for (const stream of [this.stdout, this.stderr]) for (const block of stream.end()) freeMemory(block);
  }
}

export class OutputStream {
  readonly #take: TakeMemory;
  readonly #full: Buffer[] = [];
  #block = Buffer.alloc(0);
  #used = 0;
  #kept = 0;
  #isEnded = false;
  isTruncated = false;

  constructor(take: TakeMemory) {
    this.#take = take;
  }

  /** Keeps a copy of the bytes, as long as there is room. */
  readonly add = (bytes: Uint8Array): void => {
    if (this.#isEnded) return;
    let rest = bytes.subarray(0, maxKeptBytes - this.#kept);
    if (rest.length < bytes.length) this.isTruncated = true;
    while (rest.length > 0) {
      if (this.#used === this.#block.length && !this.#addBlock()) return;
      const piece = rest.subarray(0, this.#block.length - this.#used);
      this.#block.set(piece, this.#used);
      this.#used += piece.length;
      this.#kept += piece.length;
      rest = rest.subarray(piece.length);
    }
  };

  /** A copy of what came first, enough for a runtime's message. */
  start(): Buffer {
    return Buffer.from(this.#full[0] ?? this.#block.subarray(0, this.#used));
  }

  /** Keeps nothing more, and hands over the blocks, which the caller frees. */
  end(): Buffer[] {
    this.#isEnded = true;
    const blocks = this.#full.splice(0);
    if (this.#used > 0) blocks.push(this.#block.subarray(0, this.#used));
    this.#block = Buffer.alloc(0);
    this.#used = 0;
    return blocks;
  }

  #addBlock(): boolean {
    const previous = this.#block.length;
    const size = Math.min(previous === 0 ? firstBlockBytes : previous * 2, largestBlockBytes);
    if (!this.#take(size)) {
      this.isTruncated = true;
      this.#isEnded = true;
      return false;
    }
    if (previous > 0) this.#full.push(this.#block);
    this.#block = Buffer.allocUnsafeSlow(size);
    this.#used = 0;
    return true;
  }
}

/** Gives the memory of a buffer that shares it with no other back at once. The buffer is empty from then on. */
export function freeMemory({ buffer }: Buffer): void {
  if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0);
}
