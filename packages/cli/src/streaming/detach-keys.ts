import { Code, StatusError } from "@keelson/base/status.ts";

const none: ReadonlySet<string> = new Set(["", "none"]);

/** Keys by the code that they send with Ctrl: Ctrl-A is 1, Ctrl-Z 26, and Ctrl-[ and the rest follow. */
const controlKeys = "@abcdefghijklmnopqrstuvwxyz[\\]^_";

/**
 * The keys that detach, such as `ctrl-p,ctrl-q`, as the bytes that a terminal sends for them; empty for `none`.
 * Throws InvalidArgument.
 */
export function parseDetachKeys(text: string): Uint8Array {
  if (none.has(text)) return new Uint8Array();
  return Uint8Array.from(text.split(",").map((key) => parseKey(key, text)));
}

function parseKey(key: string, text: string): number {
  const control = /^ctrl-(.)$/i.exec(key)?.[1];
  const code = control === undefined ? key.charCodeAt(0) : controlKeys.indexOf(control.toLowerCase());
  if (code < 0 || (control === undefined && (key.length !== 1 || code > 126))) {
    throw new StatusError(
      Code.InvalidArgument,
      `--detach-keys ${text}: must be single characters or ctrl-<key> with commas between them, or none`,
    );
  }
  return code;
}

/** Finds the keys that detach in what is typed, even if they come in several pieces. */
export class DetachScanner {
  readonly #keys: Uint8Array;
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /**
   * Which of the next bytes to pass on. Bytes that may be the keys are held back until it is clear that they are not.
   */
  scan(bytes: Uint8Array): { readonly passed: Uint8Array; readonly isDetached: boolean } {
    if (this.#keys.length === 0) return { passed: bytes, isDetached: false };
    const passed: number[] = [];
    for (const byte of bytes) {
      if (byte !== this.#keys[this.#matched]) {
        passed.push(...this.#keys.subarray(0, this.#matched));
        this.#matched = 0;
      }
      if (byte !== this.#keys[this.#matched]) passed.push(byte);
      else if ((this.#matched += 1) === this.#keys.length) return { passed: Uint8Array.from(passed), isDetached: true };
    }
    return { passed: Uint8Array.from(passed), isDetached: false };
  }
}
