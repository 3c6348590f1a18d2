import { Code, StatusError } from "@keelson/base/status.ts";
import { isDigest } from "./digest.ts";

/**
 * A JSON document from a registry, or a value in it. The type and size of every property are checked when it is read,
 * and errors name the place, such as `manifest: layers[3].size`. Null counts as absent, as in the reference
 * implementation.
 */
export class Document {
  readonly #value: unknown;
  readonly #where: string;

  constructor(value: unknown, where: string) {
    this.#value = value;
    this.#where = where;
  }

  /**
   * Parses a document. Throws InvalidArgument when it has more than `limitBytes` bytes, or is not UTF-8 or not JSON.
   */
  static parse(bytes: Uint8Array, what: string, limitBytes: number): Document {
    if (bytes.length > limitBytes)
      throw new StatusError(
        Code.InvalidArgument,
        `${what}: it has ${bytes.length} bytes, more than the limit of ${limitBytes}`,
      );
    try {
      return new Document(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), what);
    } catch (error) {
      throw new StatusError(Code.InvalidArgument, `${what}: it is not JSON`, error);
    }
  }

  get absent(): boolean {
    return this.#value === undefined || this.#value === null;
  }

  /** A property of this object, which may be absent. */
  at(name: string): Document {
    if (this.absent) return new Document(undefined, this.#inside(name));
    const object = this.#object();
    return new Document(Object.hasOwn(object, name) ? object[name] : undefined, this.#inside(name));
  }

  string(limit = 4096): string {
    if (typeof this.#value !== "string") throw this.wrong("must be a string");
    if (this.#value.length > limit) throw this.wrong(`is longer than ${limit} characters`);
    return this.#value;
  }

  /** A whole number from 0 to 2^53 - 1. */
  size(): number {
    if (!Number.isSafeInteger(this.#value) || (this.#value as number) < 0)
      throw this.wrong("must be a whole number that is not negative");
    return this.#value as number;
  }

  digest(): string {
    const text = this.string();
    if (!isDigest(text)) throw this.wrong("must be a digest such as sha256: and 64 hex digits");
    return text;
  }

  /** The elements of a list; none when absent. */
  list(limit: number): Document[] {
    if (this.absent) return [];
    if (!Array.isArray(this.#value)) throw this.wrong("must be a list");
    if (this.#value.length > limit)
      throw this.wrong(`has ${this.#value.length} elements, more than the limit of ${limit}`);
    return this.#value.map((value, index) => new Document(value, `${this.#where}[${index}]`));
  }

  /** The names and values of an object's properties; none when absent. */
  entries(limit: number): [string, Document][] {
    if (this.absent) return [];
    const entries = Object.entries(this.#object());
    if (entries.length > limit) throw this.wrong(`has ${entries.length} properties, more than the limit of ${limit}`);
    return entries.map(([name, value]) => [name, new Document(value, this.#inside(name))]);
  }

  /** The value read by `read`, or undefined when absent. */
  optional<T>(read: (document: Document) => T): T | undefined {
    return this.absent ? undefined : read(this);
  }

  wrong(what: string): StatusError {
    return new StatusError(Code.InvalidArgument, `${this.#where} ${what}`);
  }

  #object(): Record<string, unknown> {
    if (typeof this.#value !== "object" || this.#value === null || Array.isArray(this.#value))
      throw this.wrong("must be an object");
    return this.#value as Record<string, unknown>;
  }

  #inside(name: string): string {
    const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
    return this.#where.includes(": ") ? `${this.#where}.${shown}` : `${this.#where}: ${shown}`;
  }
}
