import type { TerminalSize } from "@keelson/linux/pty.ts";

/** The longest text of one size, in bytes. */
const maxSizeBytes = 1024;

/**
 * The terminal sizes that a client sends, in Kubernetes' form: `{"Width":80,"Height":24}`. Only the last one counts, so
 * none has to wait for a reader.
 */
export class TerminalSizes {
  #text = "";
  #last: TerminalSize | undefined;
  #listener: ((size: TerminalSize) => void) | undefined;
  readonly #first = Promise.withResolvers<void>();

  get last(): TerminalSize | undefined {
    return this.#last;
  }

  /** Resolves with the first size, or after `ms` without one. */
  async first(ms: number): Promise<TerminalSize | undefined> {
    const timer = setTimeout(this.#first.resolve, ms);
    await this.#first.promise;
    clearTimeout(timer);
    return this.#last;
  }

  /** Calls the listener with each size from now on. */
  follow(listener: (size: TerminalSize) => void): void {
    this.#listener = listener;
  }

  /** Takes JSON objects one after another, cut anywhere; what is not a size is ignored. */
  write(bytes: Uint8Array): void {
    this.#text += Buffer.from(bytes).toString("latin1");
    for (;;) {
      const end = this.#text.indexOf("}");
      if (end < 0) break;
      this.#take(sizeIn(this.#text.slice(0, end + 1)));
      this.#text = this.#text.slice(end + 1);
    }
    if (this.#text.length > maxSizeBytes) this.#text = "";
  }

  #take(size: TerminalSize | undefined): void {
    if (size === undefined) return;
    this.#last = size;
    this.#first.resolve();
    this.#listener?.(size);
  }
}

/** The names may be in any case, as Go reads them. */
function sizeIn(text: string): TerminalSize | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const fields = new Map(Object.entries(value).map(([name, field]) => [name.toLowerCase(), field as unknown]));
    const [columns, rows] = [fields.get("width"), fields.get("height")];
    return isSize(columns) && isSize(rows) ? { columns, rows } : undefined;
  } catch {
    return undefined;
  }
}

/** The kernel keeps 16 bits (ioctl_tty(2)). */
function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff;
}
