import type { Output } from "../io.ts";
import { type LogHead, maxHeadBytes, parseHead } from "./log-entry.ts";

export interface PrintOptions {
  /** Put each line's time before it. */
  readonly timestamps: boolean;
  /** Leave out entries older than this, in ns since 1970. */
  readonly sinceNs?: bigint | undefined;
  /** Stop after this many bytes of output. */
  readonly limitBytes?: number | undefined;
  /** Only this stream. */
  readonly stream?: "stdout" | "stderr" | undefined;
}

const newline = 0x0a;
const lineEnd = Buffer.from("\n");
const badLine = Buffer.from("keelctl: not a line of a CRI log: ");

/**
 * Turns the bytes of a CRI log file into the container's output. Text passes through as it comes, so that a line of any
 * length takes no memory; what is not a log line goes to stderr, marked.
 */
export class LogPrinter {
  readonly #stdout: Output;
  readonly #stderr: Output;
  readonly #options: PrintOptions;
  #remainingBytes: number;
  /** The beginning of a line whose head is not complete yet; undefined inside a line's text. */
  #head: Buffer | undefined = Buffer.alloc(0);
  /** The entry whose text is being read; undefined for a bad line. */
  #entry: LogHead | undefined;
  readonly #isInsideLine = { stdout: false, stderr: false };
  #pending: { to: Output; bytes: Buffer }[] = [];

  constructor(stdout: Output, stderr: Output, options: PrintOptions) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#options = options;
    this.#remainingBytes = options.limitBytes ?? Infinity;
  }

  /** Whether the byte limit is reached. */
  get isDone(): boolean {
    return this.#remainingBytes <= 0;
  }

  /** Takes the next bytes of the file. Resolves when all of them are written; the buffer may be reused then. */
  async push(bytes: Buffer): Promise<void> {
    let at = 0;
    while (at < bytes.length && !this.isDone)
      at = this.#head === undefined ? this.#pushText(bytes, at) : this.#pushHead(bytes, at);
    await this.#flush();
  }

  /** The file ends here, perhaps in the middle of a line. */
  async endFile(): Promise<void> {
    if (this.#head !== undefined && this.#head.length > 0) this.#startBadLine(this.#head);
    if (this.#head === undefined && this.#entry === undefined) this.#emit(this.#stderr, lineEnd);
    this.#head = Buffer.alloc(0);
    await this.#flush();
  }

  #pushHead(bytes: Buffer, at: number): number {
    const before = this.#head!.length;
    const known = Buffer.concat([this.#head!, bytes.subarray(at, at + maxHeadBytes - before)]);
    const end = known.indexOf(newline);
    const head = parseHead(end < 0 ? known : known.subarray(0, end));
    if (head !== undefined) {
      this.#startEntry(head);
      return at + head.length - before;
    }
    if (end < 0 && known.length < maxHeadBytes) {
      this.#head = known;
      return bytes.length;
    }
    const text = end < 0 ? known : known.subarray(0, end);
    if (text.length > 0) this.#startBadLine(text);
    else if (end >= 0) return at + end + 1 - before;
    return at + text.length - before;
  }

  #startEntry(head: LogHead): void {
    this.#head = undefined;
    this.#entry = head;
    if (this.#options.timestamps && !this.#isInsideLine[head.stream]) this.#emitText(Buffer.from(`${head.timestamp} `));
  }

  #startBadLine(text: Buffer): void {
    this.#head = undefined;
    this.#entry = undefined;
    this.#emit(this.#stderr, badLine);
    this.#emit(this.#stderr, text);
  }

  #pushText(bytes: Buffer, at: number): number {
    const found = bytes.indexOf(newline, at);
    const end = found < 0 ? bytes.length : found;
    this.#emitText(bytes.subarray(at, end));
    if (found < 0) return end;
    if (this.#entry?.isPartial !== true) this.#emitText(lineEnd);
    if (this.#entry !== undefined && this.#isShown(this.#entry))
      this.#isInsideLine[this.#entry.stream] = this.#entry.isPartial;
    this.#head = Buffer.alloc(0);
    return found + 1;
  }

  #emitText(bytes: Buffer): void {
    if (this.#entry === undefined) {
      this.#emit(this.#stderr, bytes);
      return;
    }
    if (!this.#isShown(this.#entry)) return;
    const cut = bytes.length > this.#remainingBytes ? bytes.subarray(0, this.#remainingBytes) : bytes;
    this.#remainingBytes -= cut.length;
    this.#emit(this.#entry.stream === "stdout" ? this.#stdout : this.#stderr, cut);
  }

  #isShown(entry: LogHead): boolean {
    const { sinceNs, stream } = this.#options;
    return (sinceNs === undefined || entry.atNs >= sinceNs) && (stream === undefined || entry.stream === stream);
  }

  #emit(to: Output, bytes: Buffer): void {
    if (bytes.length > 0) this.#pending.push({ to, bytes });
  }

  /** Writes consecutive parts for the same stream together. */
  async #flush(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    for (let i = 0; i < pending.length;) {
      const { to } = pending[i]!;
      let end = i + 1;
      while (end < pending.length && pending[end]!.to === to) end += 1;
      // A single part needs no copy; long lines come as such.
      await to.write(end === i + 1 ? pending[i]!.bytes : Buffer.concat(pending.slice(i, end).map((one) => one.bytes)));
      i = end;
    }
  }
}
