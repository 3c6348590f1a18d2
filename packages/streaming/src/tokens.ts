import { randomBytes } from "node:crypto";
import { Code, StatusError } from "@keelson/base/status.ts";

/** How long a URL is valid, in ms; as in Kubernetes' own streaming servers. */
const lifetimeMs = 60_000;
/** How many may be unused at a time. */
const maxTokens = 1000;
/** 144 bits, 24 characters of base64url. */
const tokenBytes = 18;

interface Entry<T> {
  readonly request: T;
  readonly expiresAtMs: number;
}

/** Requests that wait for a client with their token. Each is given out once. */
export class Tokens<T> {
  /** In the order in which they expire. */
  readonly #entries = new Map<string, Entry<T>>();
  readonly #nowMs: () => number;

  /** @param nowMs a clock that never goes back. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Returns a token for the request. Throws ResourceExhausted while 1000 are unused. */
  add(request: T): string {
    this.#dropExpired();
    if (this.#entries.size >= maxTokens) {
      throw new StatusError(
        Code.ResourceExhausted,
        `${maxTokens} streaming URLs are unused; each expires after ${lifetimeMs / 1000} s: try again then`,
      );
    }
    const token = randomBytes(tokenBytes).toString("base64url");
    this.#entries.set(token, { request, expiresAtMs: this.#nowMs() + lifetimeMs });
    return token;
  }

  /** The request of a token, once. Undefined for an unknown token, or when the request does not fit. */
  take(token: string, fits: (request: T) => boolean): T | undefined {
    this.#dropExpired();
    const entry = this.#entries.get(token);
    if (entry === undefined || !fits(entry.request)) return undefined;
    this.#entries.delete(token);
    return entry.request;
  }

  #dropExpired(): void {
    const nowMs = this.#nowMs();
    for (const [token, { expiresAtMs }] of this.#entries) {
      if (expiresAtMs > nowMs) return;
      this.#entries.delete(token);
    }
  }
}

/** The part of a token that a log may show. */
export function shownToken(token: string): string {
  return `${token.slice(0, 4)}…`;
}
