import { createHash, type Hash } from "node:crypto";
import { Code, StatusError } from "@keelson/base/status.ts";

/** The algorithms that the image specification registers (descriptor.md#digests), with their lengths in hex digits. */
const hexDigits: Record<string, number> = { sha256: 64, sha512: 128 };

/** Whether this is a digest that we can check: `sha256:` and 64, or `sha512:` and 128 lower-case hex digits. */
export function isDigest(text: string): boolean {
  const colon = text.indexOf(":");
  const algorithm = text.slice(0, colon);
  return (
    Object.hasOwn(hexDigits, algorithm) &&
    text.length - colon - 1 === hexDigits[algorithm] &&
    /^[a-f0-9]+$/.test(text.slice(colon + 1))
  );
}

/** The sha256 digest of bytes. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A running hash, which is compared with the expected digest in the end. */
export class DigestCheck {
  readonly #hash: Hash;
  readonly #expected: string;

  constructor(expected: string) {
    this.#expected = expected;
    this.#hash = createHash(expected.slice(0, expected.indexOf(":")));
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Throws DataLoss when the bytes do not have the expected digest; `what` names the bytes. */
  finish(what: string): void {
    const found = `${this.#expected.slice(0, this.#expected.indexOf(":"))}:${this.#hash.digest("hex")}`;
    if (found !== this.#expected)
      throw new StatusError(Code.DataLoss, `${what}: expected the digest ${this.#expected}, found ${found}`);
  }
}

/**
 * The chain ids of a stack of layers, lowest first (config.md#layer-chainid). A chain id identifies a layer together
 * with everything below it.
 */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chain;
}
