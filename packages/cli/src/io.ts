import type { Readable } from "node:stream";
import { safeLines } from "./output/safe-text.ts";

/** Where a program writes to. */
export interface Output {
  /** Resolves when there is room for more. */
  write(data: string | Uint8Array): Promise<void>;
  readonly isTerminal: boolean;
  /** Characters in a line of the terminal; 80 where there is none. */
  readonly columns: number;
  /** Lines of the terminal; 24 where there is none. */
  readonly rows: number;
  /** Calls the listener when the terminal has another size, until it is disposed of. */
  onResize(listener: () => void): Disposable;
}

/** What a program reads from. */
export interface Input {
  readonly isTerminal: boolean;
  /** The bytes as they come. Nothing is read before; destroying it gives the input up. */
  open(): Readable;
  /** Every key at once and none of them special, or as the terminal was. Where there is no terminal nothing happens. */
  setRaw(isRaw: boolean): void;
}

/** Everything that keelctl has of the world; tests hand in their own. */
export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly stdin: Input;
  readonly env: Readonly<Record<string, string | undefined>>;
  readStdin(): Promise<string>;
  /** Asks for a text that is not shown. Throws where stdin is no terminal. */
  readSecret(prompt: string): Promise<string>;
  /** ms since 1970 */
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Aborts when the user interrupts, or a signal asks the program to end; the reason is an Interrupt. */
  readonly signal: AbortSignal;
}

/** Why `Io.signal` aborts. */
export class Interrupt extends Error {
  /** What a shell tells of a program that this signal has ended: 128 and its number. */
  readonly exitCode: number;

  constructor(exitCode: number) {
    super("interrupted");
    this.name = "Interrupt";
    this.exitCode = exitCode;
  }
}

/** A line for the user on stderr; control characters in it are escaped. */
export function note(io: Io, text: string): Promise<void> {
  return io.stderr.write(`keelctl: ${safeLines(text)}\n`);
}
