import { randomBytes } from "node:crypto";
import { Code, StatusError } from "@keelson/base/status.ts";

/** How long a URL may be used, in ms; Kubernetes' streaming servers have a minute too. */
const lifetimeMs = 60_000;
/** How many may wait to be used. */
const maxTokens = 1000;
/** 144 bits, 24 characters of base64url. */
const tokenBytes = 18;

interface Entry<T> {
  readonly request: T;
  readonly expiresAtMs: number;
}

/** Requests that wait for their client to come with the token that stands for them. Each is handed out once. */
export class Tokens<T> {
  /** In the order of their ends. */
  readonly #entries = new Map<string, Entry<T>>();
  readonly #nowMs: () => number;

  /** @param nowMs a clock that never goes back. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Throws ResourceExhausted while 1000 wait. */
  add(request: T): string {
    this.#dropExpired();
    if (this.#entries.size >= maxTokens) {
      throw new StatusError(
        Code.ResourceExhausted,
        `${maxTokens} streaming URLs wait to be used; each is given up after ${lifetimeMs / 1000} s: try again then`,
      );
    }
    const token = randomBytes(tokenBytes).toString("base64url");
    this.#entries.set(token, { request, expiresAtMs: this.#nowMs() + lifetimeMs });
    return token;
  }

  /** The request that a token stands for, once; undefined for any other, or when `fits` says that it is not meant for this. */
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

/** What of a token may stand in a log. */
export function shownToken(token: string): string {
  return `${token.slice(0, 4)}…`;
}
