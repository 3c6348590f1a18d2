import { lookup } from "node:dns";
import type { Agent, AgentOptions, IncomingMessage } from "node:http";
import type { AgentOptions as SecureAgentOptions } from "node:https";
import type { LookupFunction } from "node:net";
import tls from "node:tls";
import { http, https } from "@keelson/base/http.ts";
import { Code, StatusError } from "@keelson/base/status.ts";

/** How one registry host is reached over TLS. Plain data, so that a worker thread can be given it. */
export interface TlsSettings {
  /** PEM of further certificate authorities; the system's stay trusted. */
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
  /** Which IP addresses the URL's name may have; any when not given. Asked only without a proxy, which looks it up by itself. */
  mayReach?: ((address: string) => boolean) | undefined;
}

export interface HttpResponse {
  status: number;
  /** Names in lower case; several values are joined with a comma. */
  headers: Record<string, string>;
  /** May be read once. Leaving the loop early closes the connection. */
  body: AsyncIterable<Uint8Array>;
}

/** Sends one request and follows no redirects: the client decides what goes to another host. */
export interface Transport {
  /** Rejects with Unavailable when the host does not answer, FailedPrecondition when it may not be reached, or with the signal's reason. */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse>;
}

/**
 * The real transport, on Node's http and https: they take authorities and client certificates for
 * each host, which the built-in fetch does not, and cost half of its time for each byte of a body.
 * Connections are kept for the next request. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
 */
export class HttpTransport implements Transport, Disposable {
  readonly #agents = new Map<string, Agent>();
  readonly #answerTimeoutMs: number;
  readonly #idleTimeoutMs: number;

  /**
   * `answerTimeoutMs`: how long a host may take to connect and to send the head of its answer;
   * `idleTimeoutMs`: how long its body may bring nothing.
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

  /** The time that whoever reads it takes is not the host's. */
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

/** One context for each agent: reading some hundred certificates for each connection would cost milliseconds. */
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
        `${hostname}: it has an address that only this node reaches; that is refused`,
      );
      callback(new Error(refusal.message, { cause: refusal }), found, family);
    });
  };
}

/** An AggregateError (each address of a host failed) has no message of its own. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}
