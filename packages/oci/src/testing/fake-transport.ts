import { StatusError, type Code } from "@keelson/base/status.ts";
import type { Credentials } from "../distribution/authorizer.ts";
import type { RegistryHost } from "../distribution/hosts.ts";
import { RepositoryClient } from "../distribution/repository-client.ts";
import type { HttpRequest, HttpResponse, Transport } from "../distribution/transport.ts";
import { digestOf } from "../image-spec/digest.ts";

/** A signal that is never aborted. */
export const never = new AbortController().signal;
/** The content of `blob`. */
export const blobBytes = Buffer.from("0123456789".repeat(10));
export const blob = { mediaType: "application/octet-stream", digest: digestOf(blobBytes), sizeBytes: blobBytes.length };

/** What a request gets; an error rejects it. */
export type Answer =
  | { status: number; headers?: Record<string, string>; body?: string | Uint8Array | AsyncIterable<Uint8Array> }
  | Error;

/** A transport whose requests are answered by a function. */
export class FakeTransport implements Transport {
  /** Method, address, range and authorization of each request. */
  readonly seen: string[] = [];
  readonly #answer: (request: HttpRequest, count: number, signal: AbortSignal) => Answer;

  constructor(answer: (request: HttpRequest, count: number, signal: AbortSignal) => Answer) {
    this.#answer = answer;
  }

  send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    this.seen.push(
      `${request.method} ${request.url.href}${request.headers["range"] === undefined ? "" : ` ${request.headers["range"]}`} ${request.headers["authorization"] ?? "-"}`,
    );
    const answer = this.#answer(request, this.seen.length, signal);
    if (answer instanceof Error) return Promise.reject(answer);
    const { status, headers = {}, body = "" } = answer;
    return Promise.resolve({
      status,
      headers,
      body: typeof body === "string" || body instanceof Uint8Array ? once(Buffer.from(body)) : body,
    });
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

/** A body that breaks off after these bytes. */
export async function* broken(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield bytes;
  throw new Error("socket hang up");
}

/** A host with ordinary settings. */
export function registryHost(baseUrl: string, more: Partial<RegistryHost> = {}): RegistryHost {
  return {
    baseUrl,
    pull: true,
    resolve: true,
    headers: {},
    tls: { ca: [], client: undefined, skipVerify: false },
    namespace: undefined,
    ...more,
  };
}

/** A client for the repository `app`. `waits` collects the waits between attempts, in ms. */
export function clientOf(
  transport: Transport,
  options: {
    hosts?: RegistryHost[];
    credentials?: Partial<Credentials>;
    waits?: number[];
    stallTimeoutMs?: number;
  } = {},
): RepositoryClient {
  const none = { username: "", password: "", identityToken: "", registryToken: "", serverAddress: "" };
  const credentials = options.credentials === undefined ? undefined : { ...none, ...options.credentials };
  return new RepositoryClient(
    {
      repository: "app",
      hosts: options.hosts ?? [registryHost("https://r.example/v2")],
      credentials,
      authorizations: [],
    },
    {
      transport,
      sleep: (ms) => (options.waits?.push(ms), Promise.resolve()),
      stallTimeoutMs: options.stallTimeoutMs ?? 1000,
    },
  );
}

/** Downloads a blob as text. */
export async function readBlob(c: RepositoryClient, descriptor = blob): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of c.blob(descriptor, never)) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** Matches a StatusError with this code and message. */
export function isStatus(code: Code, why: RegExp) {
  return (error: unknown) => error instanceof StatusError && error.code === code && why.test(error.message);
}
