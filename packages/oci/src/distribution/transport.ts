import { lookup } from "node:dns";
import type { Agent, AgentOptions, IncomingMessage } from "node:http";
import type { AgentOptions as SecureAgentOptions } from "node:https";
import type { LookupFunction } from "node:net";
import tls from "node:tls";
import { http, https } from "@keelson/base/http.ts";
import { Code, StatusError } from "@keelson/base/status.ts";

/** How a registry host is reached over TLS. Plain data, so it can go to a worker thread. */
export interface TlsSettings {
  /** PEM of additional certificate authorities; the system's are trusted too. */
  ca: string[];
  /** PEM of a client certificate and its key. */
  client: { cert: string; key: string } | undefined;
  skipVerify: boolean;
}

export interface HttpRequest {
  method: "GET" | "HEAD" | "POST";
  url: URL;
  /** Names in lower case. */
  headers: Record<string, string>;
  body?: string;
  tls?: TlsSettings | undefined;
  /** Which IP addresses may be connected to; default all. Not used with a proxy, which resolves the name itself. */
  mayReach?: ((address: string) => boolean) | undefined;
}

export interface HttpResponse {
  status: number;
  /** Names in lower case; several values are joined with a comma. */
  headers: Record<string, string>;
  /** Can be read once. Leaving the loop early closes the connection. */
  body: AsyncIterable<Uint8Array>;
}

/** Sends single requests. Does not follow redirects: the client decides what is sent to another host. */
export interface Transport {
  /**
   * Rejects with Unavailable when the host does not answer, FailedPrecondition when it may not be connected to, or the
   * signal's reason.
   */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse>;
}

/**
 * The real transport, with Node's http and https modules. Unlike the built-in fetch they support separate authorities
 * and client certificates for each host, and they need half as much time per byte. Connections are reused. The proxies
 * in HTTPS_PROXY and HTTP_PROXY are used, except for hosts in NO_PROXY.
 */
export class HttpTransport implements Transport, Disposable {
  readonly #agents = new Map<string, Agent>();
  readonly #answerTimeoutMs: number;
  readonly #idleTimeoutMs: number;

  /**
   * `answerTimeoutMs`: how long connecting and receiving the headers of the answer may take; `idleTimeoutMs`: how long
   * a body may stall.
   */
  constructor(answerTimeoutMs = 30_000, idleTimeoutMs = 60_000) {
    this.#answerTimeoutMs = answerTimeoutMs;
    this.#idleTimeoutMs = idleTimeoutMs;
  }

  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const module = request.url.protocol === "https:" ? https : http;
    const guard = request.mayReach === undefined ? {} : { lookup: guardedLookup(request.mayReach) };
    const sent = module.request(request.url, {
      method: request.method,
      headers: request.headers,
      agent: this.#agent(request),
      signal,
      ...guard,
    });
    sent.on("response", resolve).on("error", reject);
    const timer = setTimeout(
      () => sent.destroy(new Error(`no answer within ${this.#answerTimeoutMs} ms`)),
      this.#answerTimeoutMs,
    );
    try {
      sent.end(request.body);
      const message = await promise;
      return { status: message.statusCode ?? 0, headers: headersOf(message), body: this.#body(message) };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Error && error.cause instanceof StatusError) throw error.cause;
      throw new StatusError(Code.Unavailable, `${request.url.host}: ${reasonOf(error)}`, error);
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  /** The time that the reader takes does not count as stalling. */
  async *#body(message: IncomingMessage): AsyncGenerator<Uint8Array, void, void> {
    let waiting = true;
    const timer = setTimeout(() => {
      if (waiting) message.destroy(new Error(`no data for ${this.#idleTimeoutMs} ms`));
    }, this.#idleTimeoutMs);
    try {
      for await (const part of message as AsyncIterable<Buffer>) {
        waiting = false;
        yield part;
        waiting = true;
        timer.refresh();
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #agent(request: HttpRequest): Agent {
    const secure = request.url.protocol === "https:";
    const key = secure ? `https ${JSON.stringify(request.tls ?? null)}` : "http";
    let agent = this.#agents.get(key);
    if (agent === undefined) {
      agent = secure
        ? new https.Agent({ ...agentOptions(), ...secureOptions(request.tls) })
        : new http.Agent(agentOptions());
      this.#agents.set(key, agent);
    }
    return agent;
  }
}

function agentOptions(): AgentOptions {
  return { keepAlive: true, maxSockets: 16, proxyEnv: process.env };
}

/** Made once for each agent: parsing some hundred certificates for each connection would take milliseconds. */
function secureOptions(settings: TlsSettings | undefined): SecureAgentOptions {
  const authorities = new Set([
    ...tls.getCACertificates("default"),
    ...tls.getCACertificates("system"),
    ...(settings?.ca ?? []),
  ]);
  const client = settings?.client;
  return {
    rejectUnauthorized: settings?.skipVerify !== true,
    secureContext: tls.createSecureContext({
      ca: [...authorities],
      ...(client !== undefined && { cert: client.cert, key: client.key }),
    }),
  };
}

function headersOf(message: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(message.headersDistinct).map(([name, values]) => [name, (values ?? []).join(", ")]),
  );
}

function guardedLookup(mayReach: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, found, family) => {
      const addresses = Array.isArray(found) ? found.map(({ address }) => address) : [found];
      if (error !== null || addresses.every(mayReach)) return callback(error, found, family);
      const refusal = new StatusError(
        Code.FailedPrecondition,
        `${hostname}: refused, as it has an address that can only be reached from this node`,
      );
      callback(new Error(refusal.message, { cause: refusal }), found, family);
    });
  };
}

/** An AggregateError, thrown when all addresses of a host failed, has no message itself. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}
