import { safeLines } from "./output/safe-text.ts";

/** Where a program writes to. */
export interface Output {
  /** Resolves when there is room for more. */
  write(data: string | Uint8Array): Promise<void>;
  readonly isTerminal: boolean;
  /** Characters in a line of the terminal; 80 where there is none. */
  readonly columns: number;
}

/** Everything that keelctl has of the world; tests hand in their own. */
export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readStdin(): Promise<string>;
  /** Asks for a text that is not shown. Throws where stdin is no terminal. */
  readSecret(prompt: string): Promise<string>;
  /** ms since 1970 */
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Aborts when the user interrupts. */
  readonly signal: AbortSignal;
}

/** A line for the user on stderr; control characters in it are escaped. */
export function note(io: Io, text: string): Promise<void> {
  return io.stderr.write(`keelctl: ${safeLines(text)}\n`);
}
