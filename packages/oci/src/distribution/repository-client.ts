import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { DigestCheck, digestOf, isDigest } from "../image-spec/digest.ts";
import { type Descriptor, manifestLimitBytes } from "../image-spec/manifest.ts";
import { manifestMediaTypes } from "../image-spec/media-type.ts";
import { Authorizer, type Credentials } from "./authorizer.ts";
import { discard, readBody, refusalOf } from "./failure.ts";
import { type ForeignAddress, foreignAddress } from "./foreign-address.ts";
import type { RegistryHost } from "./hosts.ts";
import type { HttpRequest, HttpResponse, Transport } from "./transport.ts";

/** Everything that is needed to read a repository, as plain data. */
export interface RepositoryAccess {
  /** Its name in the registry, such as `library/busybox`. */
  repository: string;
  /** Tried in this order. */
  hosts: RegistryHost[];
  credentials: Credentials | undefined;
  /** Authorization headers that are known to work, from another client's `access()`. */
  authorizations: [string, string][];
}

export interface RepositoryClientOptions {
  transport: Transport;
  /** Waits before another attempt; tests use their own. */
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** How long a body may stall before the request is repeated, in ms. */
  stallTimeoutMs?: number;
}

/** A request to any host of the repository. */
interface PathRequest {
  readonly method: "GET" | "HEAD";
  /** Below the repository: `manifests/…` or `blobs/…`. */
  readonly path: string;
  readonly headers: Record<string, string>;
}

export interface ResolvedManifest {
  bytes: Uint8Array;
  /** As sent by the registry, or "". */
  mediaType: string;
  digest: string;
}

/** Attempts for one request; and how often in a row a download may fail without progress. */
const attempts = 4;
/** Attempts for a host that is followed by another one. */
const mirrorAttempts = 2;
const firstDelayMs = 250;
/** When a registry wants us to wait longer than this, we give up; the kubelet will try again by itself. */
const longestDelayMs = 10_000;
const redirects = 5;
/** How much progress resets the number of failures of a download. */
const progressBytes = 1024 * 1024;
const accept = Object.values(manifestMediaTypes).join(", ");

/**
 * Reads a repository of a registry (https://github.com/opencontainers/distribution-spec, "Pull"): manifests and blobs,
 * from mirrors first, authenticated as the registry demands. Requests are repeated after temporary failures, and broken
 * downloads are resumed. Content that is requested by digest is checked.
 */
export class RepositoryClient {
  readonly #access: RepositoryAccess;
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly #stallTimeoutMs: number;
  /** Mirrors that did not answer; they are not tried again. */
  readonly #silent = new Set<RegistryHost>();

  constructor(access: RepositoryAccess, options: RepositoryClientOptions) {
    this.#access = access;
    this.#transport = options.transport;
    this.#authorizer = new Authorizer(options.transport, access.credentials, access.authorizations);
    this.#sleep = options.sleep ?? sleep;
    this.#stallTimeoutMs = options.stallTimeoutMs ?? 60_000;
  }

  /** What this client was created with, plus authorizations found since, without mirrors that do not answer. */
  access(): RepositoryAccess {
    return {
      ...this.#access,
      hosts: this.#access.hosts.filter((host) => !this.#silent.has(host)),
      authorizations: this.#authorizer.known(),
    };
  }

  /**
   * The current digest of a tag, without fetching the manifest; undefined when the registry does not send it. Throws
   * NotFound, Unauthenticated, PermissionDenied, ResourceExhausted or Unavailable.
   */
  async resolve(tag: string, signal: AbortSignal): Promise<string | undefined> {
    const request = { method: "HEAD", path: `manifests/${tag}`, headers: { accept } } as const;
    const response = await this.#ask("resolve", request, signal);
    await discard(response);
    const digest = response.headers["docker-content-digest"] ?? "";
    return isDigest(digest) ? digest : undefined;
  }

  /** A manifest or index by tag or digest. Throws like `resolve`, and DataLoss when it does not have its digest. */
  async manifest(tagOrDigest: string, signal: AbortSignal): Promise<ResolvedManifest> {
    const wanted = isDigest(tagOrDigest) ? tagOrDigest : undefined;
    const request = { method: "GET", path: `manifests/${tagOrDigest}`, headers: { accept } } as const;
    const response = await this.#ask(wanted === undefined ? "resolve" : "pull", request, signal);
    const what = `manifest ${tagOrDigest}`;
    const bytes = await this.#whole(what, response, manifestLimitBytes, signal);
    if (wanted !== undefined) check(what, bytes, wanted);
    const mediaType = (response.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    return {
      bytes,
      mediaType: /json/.test(mediaType) && mediaType !== "application/json" ? mediaType : "",
      digest: wanted ?? digestOf(bytes),
    };
  }

  /** A small blob as a whole. Throws like `blob`, and InvalidArgument when it is larger than the limit. */
  async smallBlob(descriptor: Descriptor, limitBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    if (descriptor.sizeBytes > limitBytes)
      throw new StatusError(
        Code.InvalidArgument,
        `blob ${descriptor.digest}: it has ${descriptor.sizeBytes} bytes, more than the limit of ${limitBytes}`,
      );
    const parts: Uint8Array[] = [];
    for await (const part of this.blob(descriptor, signal)) parts.push(part);
    return Buffer.concat(parts);
  }

  /**
   * A blob's bytes, in order. A broken or stalled download is resumed where it was, from the next host if one fails
   * permanently. Throws DataLoss at the end when the bytes do not have the descriptor's digest and size, so nothing may
   * be trusted before that.
   */
  async *blob(descriptor: Descriptor, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
    const what = `blob ${descriptor.digest}`;
    const digest = new DigestCheck(descriptor.digest);
    let received = 0;
    let failures = 0;
    let receivedAtFailure = 0;
    while (received < descriptor.sizeBytes) {
      try {
        for await (const part of this.#blobFrom(descriptor, received, signal)) {
          received += part.length;
          if (received > descriptor.sizeBytes)
            throw new StatusError(Code.DataLoss, `${what}: it has more than its ${descriptor.sizeBytes} bytes`);
          digest.update(part);
          yield part;
        }
        if (received < descriptor.sizeBytes)
          throw new StatusError(Code.Unavailable, `${what}: ended after ${received} of ${descriptor.sizeBytes} bytes`);
      } catch (error) {
        signal.throwIfAborted();
        failures = received - receivedAtFailure >= progressBytes ? 1 : failures + 1;
        receivedAtFailure = received;
        if (failures >= attempts || !isTemporary(error)) throw error;
        await this.#sleep(delayMs(failures), signal);
      }
    }
    digest.finish(what);
  }

  async *#blobFrom(
    descriptor: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, void> {
    const stalled = new AbortController();
    const either = AbortSignal.any([signal, stalled.signal]);
    // The time that the consumer takes does not count.
    let waiting = true;
    const timer = setTimeout(() => {
      if (waiting)
        stalled.abort(
          new StatusError(Code.Unavailable, `blob ${descriptor.digest}: no data for ${this.#stallTimeoutMs} ms`),
        );
    }, this.#stallTimeoutMs);
    try {
      const headers: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
      const response = await this.#ask("pull", { method: "GET", path: `blobs/${descriptor.digest}`, headers }, either);
      // A server may ignore the range and begin at the start.
      let skip = response.status === 206 ? 0 : offset;
      timer.refresh();
      for await (const part of response.body) {
        waiting = false;
        if (skip < part.length) yield skip === 0 ? part : part.subarray(skip);
        skip = Math.max(0, skip - part.length);
        waiting = true;
        timer.refresh();
      }
    } catch (error) {
      either.throwIfAborted();
      throw error instanceof StatusError
        ? error
        : new StatusError(Code.Unavailable, `blob ${descriptor.digest}: ${messageOf(error)}`, error);
    } finally {
      clearTimeout(timer);
    }
  }

  async #whole(what: string, response: HttpResponse, limitBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    try {
      return await readBody(what, response, limitBytes);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof StatusError
        ? error
        : new StatusError(Code.Unavailable, `${what}: ${messageOf(error)}`, error);
    }
  }

  /** Sends a request to each host in turn until one succeeds; the error has the answers of all of them. */
  async #ask(capability: "pull" | "resolve", request: PathRequest, signal: AbortSignal): Promise<HttpResponse> {
    const failures: StatusError[] = [];
    const hosts = this.#access.hosts.filter((host) => host[capability] && !this.#silent.has(host));
    for (const host of hosts) {
      const isLast = host === hosts.at(-1);
      try {
        return await this.#askHost(host, request, isLast ? attempts : mirrorAttempts, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!isLast && codeOf(error) === Code.Unavailable) this.#silent.add(host);
        failures.push(error instanceof StatusError ? error : new StatusError(Code.Internal, messageOf(error), error));
      }
    }
    const last = failures.at(-1);
    if (last === undefined)
      throw new StatusError(
        Code.FailedPrecondition,
        `no configured host has the capability ${capability}; see the registry's hosts.toml`,
      );
    throw failures.length === 1
      ? last
      : new StatusError(codeOf(last), failures.map((f) => f.message).join("; then "), last);
  }

  /** Sends a request up to `most` times, as long as the failures are temporary. */
  async #askHost(
    host: RegistryHost,
    { method, path, headers }: PathRequest,
    most: number,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const url = new URL(`${host.baseUrl}/${this.#access.repository}/${path}`);
    if (host.namespace !== undefined) url.searchParams.set("ns", host.namespace);
    const what = `${url.host}/${this.#access.repository} ${path}`;
    for (let attempt = 1; ; attempt += 1) {
      let wait = delayMs(attempt);
      try {
        const response = await this.#authenticated(host, { method, url, headers }, signal);
        if (response.status === 200 || response.status === 206) return response;
        wait = Math.max(wait, retryAfterMs(response));
        throw await refusalOf(what, response);
      } catch (error) {
        signal.throwIfAborted();
        if (!isTemporary(error) || attempt === most || wait > longestDelayMs) throw error;
      }
      await this.#sleep(wait, signal);
    }
  }

  async #authenticated(
    host: RegistryHost,
    request: Omit<HttpRequest, "tls">,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const scope = `repository:${this.#access.repository}:pull`;
    // The second attempt has an authorization; the third replaces one that has expired meanwhile.
    for (let attempt = 1; ; attempt += 1) {
      const authorization = this.#authorizer.headerFor(host, scope);
      const response = await this.#follow(host, request, authorization, signal);
      if (response.status !== 401 || attempt === 3) return response;
      const met = await this.#authorizer.meet(host, scope, response.headers["www-authenticate"] ?? "", signal);
      if (!met) return response;
      await discard(response);
    }
  }

  /** Follows redirects. Secrets, and what is meant for the registry only, are not sent to other hosts. */
  async #follow(
    host: RegistryHost,
    request: Omit<HttpRequest, "tls">,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const own = new URL(host.baseUrl).origin;
    let at: ForeignAddress = { url: request.url, mayReach: undefined };
    for (let hop = 0; hop <= redirects; hop += 1) {
      const { url, mayReach } = at;
      const isOwn = url.origin === own;
      const headers = {
        ...request.headers,
        "user-agent": "keelson",
        ...(isOwn && host.headers),
        ...(isOwn && authorization !== undefined && { authorization }),
      };
      const tls = isOwn ? host.tls : { ...host.tls, client: undefined };
      const response = await this.#transport.send({ method: request.method, url, headers, tls, mayReach }, signal);
      const location = response.headers["location"];
      if (![301, 302, 303, 307, 308].includes(response.status) || location === undefined) return response;
      await discard(response);
      at = foreignAddress(url, location, Code.FailedPrecondition, "a redirect");
    }
    throw new StatusError(Code.FailedPrecondition, `${request.url.host}: more than ${redirects} redirects`);
  }
}

function check(what: string, bytes: Uint8Array, expected: string): void {
  const digest = new DigestCheck(expected);
  digest.update(bytes);
  digest.finish(what);
}

function isTemporary(error: unknown): boolean {
  const code = codeOf(error);
  return code === Code.Unavailable || code === Code.ResourceExhausted;
}

/** Doubles each time, with some randomness so that many nodes do not try again at the same time. */
function delayMs(attempt: number): number {
  return firstDelayMs * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
}

/** Retry-After in seconds or as a date (RFC 9110, 10.2.3); 0 when absent. */
function retryAfterMs(response: HttpResponse): number {
  const text = response.headers["retry-after"] ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? 0 : Math.max(0, date - Date.now());
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal.addEventListener("abort", leave, { once: true });
  });
}
