import type { Readable } from "node:stream";
import { safeLines } from "./output/safe-text.ts";

/** What a program writes to. */
export interface Output {
  /** Resolves when there is room for more. */
  write(data: string | Uint8Array): Promise<void>;
  readonly isTerminal: boolean;
  /** Characters in a line of the terminal; 80 without a terminal. */
  readonly columns: number;
  /** Lines of the terminal; 24 without a terminal. */
  readonly rows: number;
  /** Calls the listener whenever the terminal's size changes, until the result is disposed of. */
  onResize(listener: () => void): Disposable;
}

/** What a program reads from. */
export interface Input {
  readonly isTerminal: boolean;
  /** The bytes as they come. Nothing is read before this call; destroying the stream ends the reading. */
  open(): Readable;
  /** Raw mode (each key at once, none of them special), or the earlier mode. Does nothing without a terminal. */
  setRaw(isRaw: boolean): void;
}

/** All that keelctl knows of the world; tests pass their own. */
export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly stdin: Input;
  readonly env: Readonly<Record<string, string | undefined>>;
  readStdin(): Promise<string>;
  /** Asks for text, which is not shown. Throws when stdin is not a terminal. */
  readSecret(prompt: string): Promise<string>;
  /** ms since 1970 */
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Aborts when the user interrupts, or a signal asks the program to end; the reason is an Interrupt. */
  readonly signal: AbortSignal;
}

/** Why `Io.signal` aborts. */
export class Interrupt extends Error {
  /** What a shell reports for a program that the signal has ended: 128 plus its number. */
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
