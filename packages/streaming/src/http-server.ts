import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Server as TlsServer } from "node:https";
import { type AddressInfo, isIPv6, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { http, https } from "@keelson/base/http.ts";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeName, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";
import { CertificateFiles } from "./certificate-files.ts";
import type { ConnectionRules } from "./connection-rules.ts";
import type { ListenOptions } from "./messages.ts";
import type { RemoteStreams } from "./remote-streams.ts";
import { type Forward, forwardSession, portForwardProtocol } from "./spdy-forward.ts";
import { acceptRemoteStreams, type RemoteCommandProtocol, remoteCommandProtocols } from "./spdy-streams.ts";
import type { PortForward, StreamingRequest } from "./streaming-request.ts";
import { shownToken } from "./tokens.ts";
import { forwardChannels, forwardEncodings, maxForwardPorts, tunnelProtocol } from "./websocket-forward.ts";
import { chooseSubprotocol, remoteCommandDialects, webSocketStreams } from "./websocket-streams.ts";

/** A client whose URL is valid. Dispose of it when it has been served. */
export interface ClaimedClient extends Disposable {
  readonly request: StreamingRequest;
  /** For exec and attach: runs until the command or the client has ended, and calls `finish`. */
  run(streams: RemoteStreams): Promise<void>;
  /** For port-forward. */
  readonly forward: Forward;
}

/** Decides which clients are served. */
export interface Admission {
  /** The client whose token this is, once and only for this kind of request; undefined for any other token. */
  claim(kind: StreamingRequest["is"], token: string): Promise<ClaimedClient | undefined>;
}

/** How long a client may take to send its request, in ms. */
const headersTimeoutMs = 10_000;
const maxHeaderBytes = 16 * 1024;
/** The most that one WebSocket message may have; clients send about 32 KiB. */
const maxMessageBytes = 1024 * 1024;
const maxConnections = 8192;
/** How long a connection that is refused may take to end, in ms. */
const refusalMs = 5000;

/** Serves clients of exec, attach and port-forward over SPDY/3.1 and WebSocket. */
export class HttpServer {
  readonly #o: ListenOptions;
  readonly #admission: Admission;
  readonly #log: Log;
  readonly #webSockets: WebSocketServer;
  readonly #sockets = new Set<Socket>();
  readonly #running = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #rules: ConnectionRules;
  #server: Server | TlsServer | undefined;
  #certificate: CertificateFiles | undefined;

  constructor(options: ListenOptions, admission: Admission, log: Log) {
    this.#o = options;
    this.#admission = admission;
    this.#log = log;
    this.#rules = {
      watchIdle: (touchedAtMs, onIdle) => watchIdle(options.idleTimeoutMs, touchedAtMs, onIdle),
      creationTimeoutMs: options.creationTimeoutMs,
      closing: this.#closing.signal,
    };
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
    });
    // We choose the subprotocol before the handshake, because ws takes `SPDY/3.1+portforward.k8s.io` for malformed.
    this.#webSockets.on("headers", (headers, request) => {
      const protocol = chosen.get(request);
      if (protocol !== undefined && protocol !== "") headers.push(`Sec-WebSocket-Protocol: ${protocol}`);
    });
  }

  /** Starts to listen, and returns where clients reach it. Throws what prevents it. */
  async listen(): Promise<{ readonly url: string; readonly port: number }> {
    const { address, port } = this.#o;
    try {
      const server = this.#createServer();
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: address, port, backlog: 1024 }, resolve);
      });
      // Later errors concern one connection, usually for lack of fds. The next connection may succeed again.
      server.on("error", (error) => this.#log.warn({ err: error }, "the streaming server cannot accept a connection"));
      this.#server = server;
      const bound = server.address() as AddressInfo;
      return { url: urlOf(bound, this.#o.tls !== undefined), port: bound.port };
    } catch (error) {
      this.#certificate?.[Symbol.dispose]();
      throw error;
    }
  }

  /** Accepts no new clients, ends the present ones, and drops those that are left after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#closing.abort(new StatusError(Code.Unavailable, "keelsond is being stopped"));
    this.#certificate?.[Symbol.dispose]();
    const server = this.#server;
    if (server === undefined) return;
    const isClosed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    const timer = setTimeout(() => this.#dropAll(), graceMs);
    await Promise.allSettled(this.#running);
    this.#dropAll();
    await isClosed;
    clearTimeout(timer);
  }

  #dropAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #createServer(): Server | TlsServer {
    const { tls } = this.#o;
    const options = {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: headersTimeoutMs,
      requestTimeout: 2 * headersTimeoutMs,
      connectionsCheckingInterval: 1000,
      keepAlive: true,
      noDelay: true,
    };
    let server: Server | TlsServer;
    if (tls === undefined) {
      server = http.createServer(options);
    } else {
      this.#certificate = new CertificateFiles(tls.certFile, tls.keyFile);
      const tlsServer = https.createServer({
        ...options,
        ...this.#certificate.read(),
        minVersion: "TLSv1.2",
        handshakeTimeout: headersTimeoutMs,
      });
      this.#certificate.follow((pair) => tlsServer.setSecureContext({ ...pair, minVersion: "TLSv1.2" }), this.#log);
      server = tlsServer;
    }
    server.maxConnections = maxConnections;
    // For clients that never send a byte: headersTimeout does not cover them.
    server.timeout = headersTimeoutMs;
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => {});
    });
    server.on("request", (request, response) => this.#answer(request, response));
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade({ request, socket, head }),
    );
    server.on("clientError", (_error, socket) => refuse(socket, 400, "this is not an HTTP request"));
    return server;
  }

  /** Refuses a request without an upgrade, such as a browser's. The token in its URL stays valid. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const route = routeOf(request.url);
    const status = route === undefined ? 404 : 400;
    const text = route === undefined ? "there is nothing here" : "this URL wants an upgrade to SPDY/3.1 or WebSocket";
    response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8", Connection: "close" }).end(`${text}\n`);
  }

  #upgrade(upgrade: Upgrade): void {
    const { request, socket } = upgrade;
    socket.on("error", () => {});
    if (socket instanceof Socket) socket.setTimeout(0);
    const route = routeOf(request.url);
    if (route === undefined) return refuse(socket, 404, "there is nothing here");
    if (request.method !== "GET" && request.method !== "POST") return refuse(socket, 405, "use GET or POST");
    const protocol = request.headers.upgrade?.toLowerCase();
    if (protocol !== "spdy/3.1" && protocol !== "websocket")
      return refuse(socket, 400, "this URL wants an upgrade to SPDY/3.1 or WebSocket");
    const running = this.#serve(route, protocol, upgrade);
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  async #serve({ kind, token }: Route, protocol: "spdy/3.1" | "websocket", upgrade: Upgrade): Promise<void> {
    const { socket } = upgrade;
    const startedMs = performance.now();
    using client = await this.#admission.claim(kind, token);
    if (client === undefined || this.#closing.signal.aborted)
      return refuse(socket, 404, "this URL was already used, is older than a minute, or never existed");
    const asked = client.request;
    const fields = {
      stream: asked.is,
      id: asked.is === "portforward" ? asked.podId : asked.containerId,
      upgrade: protocol,
      token: shownToken(token),
    };
    try {
      if (protocol === "websocket") await this.#serveWebSocket(client, upgrade);
      else await this.#serveSpdy(client, upgrade);
      this.#log.debug({ ...fields, ms: Math.round(performance.now() - startedMs) }, "stream");
    } catch (error) {
      // The client knows, or is gone; a mistake of the user's is no reason for a warning in the daemon's log.
      this.#log.debug(
        {
          ...fields,
          code: codeName(codeOf(error)),
          error: messageOf(error),
          ms: Math.round(performance.now() - startedMs),
        },
        "stream",
      );
      socket.destroy();
    }
  }

  async #serveSpdy(client: ClaimedClient, { request, socket, head }: Upgrade): Promise<void> {
    const asked = client.request;
    const known = asked.is === "portforward" ? [portForwardProtocol] : remoteCommandProtocols;
    const offered = listOf(request.headers["x-stream-protocol-version"]);
    const protocol = offered.length === 0 ? "" : offered.find((name) => (known as readonly string[]).includes(name));
    if (protocol === undefined) {
      const text = `unable to upgrade: unable to negotiate protocol: client supports ${offered.join(", ")}; server supports ${known.join(", ")}`;
      return refuse(
        socket,
        403,
        text,
        known.map((name) => `X-Accepted-Stream-Protocol-Versions: ${name}`),
      );
    }
    const lines = [
      "HTTP/1.1 101 Switching Protocols",
      "Connection: Upgrade",
      "Upgrade: SPDY/3.1",
      ...(protocol === "" ? [] : [`X-Stream-Protocol-Version: ${protocol}`]),
    ];
    socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    if (head.length > 0) socket.unshift(head);
    if (asked.is === "portforward") return await forwardSession(socket, client.forward, this.#rules);
    const streams = await acceptRemoteStreams(socket, protocol as RemoteCommandProtocol, asked.choice, this.#rules);
    await this.#run(client, streams);
  }

  async #serveWebSocket(client: ClaimedClient, upgrade: Upgrade): Promise<void> {
    const { request, socket } = upgrade;
    const asked = client.request;
    const offered = listOf(request.headers["sec-websocket-protocol"]);
    const known =
      asked.is === "portforward"
        ? [tunnelProtocol, ...Object.keys(forwardEncodings)]
        : Object.keys(remoteCommandDialects);
    let protocol: string;
    let ports: readonly number[] = [];
    try {
      protocol = chooseSubprotocol(offered, known);
      if (asked.is === "portforward" && protocol !== tunnelProtocol) ports = portsOf(asked, request.url ?? "");
    } catch (error) {
      return refuse(socket, 400, messageOf(error));
    }
    const webSocket = await this.#handshake(upgrade, protocol);
    if (asked.is !== "portforward")
      return await this.#run(
        client,
        webSocketStreams(webSocket, remoteCommandDialects[protocol]!, asked.choice, this.#rules),
      );
    if (protocol !== tunnelProtocol)
      return await forwardChannels(
        webSocket,
        { encoding: forwardEncodings[protocol]!, ports },
        client.forward,
        this.#rules,
      );
    await forwardSession(createWebSocketStream(webSocket), client.forward, this.#rules);
  }

  /** Rejects when ws refuses the handshake; it answers the client itself. */
  #handshake({ request, socket, head }: Upgrade, protocol: string): Promise<WebSocket> {
    chosen.set(request, protocol);
    delete request.headers["sec-websocket-protocol"];
    return new Promise((resolve, reject) => {
      socket.once("close", () => reject(new StatusError(Code.InvalidArgument, "the WebSocket handshake failed")));
      this.#webSockets.handleUpgrade(request, socket, head, resolve);
    });
  }

  async #run(client: ClaimedClient, streams: RemoteStreams): Promise<void> {
    const signal = AbortSignal.any([streams.signal, this.#closing.signal]);
    await client.run({ ...streams, signal });
  }
}

/** Checks a connection a few times within its idle timeout. */
function watchIdle(idleTimeoutMs: number, touchedAtMs: () => number, onIdle: () => void): Disposable {
  const timer = setInterval(
    () => {
      if (performance.now() - touchedAtMs() >= idleTimeoutMs) onIdle();
    },
    Math.max(10, idleTimeoutMs / 8),
  ).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** A request for an upgrade, as node:http hands it over: `head` came with it and belongs to the new protocol. */
interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** The subprotocols of handshakes in progress. */
const chosen = new WeakMap<IncomingMessage, string>();

interface Route {
  readonly kind: StreamingRequest["is"];
  readonly token: string;
}

function routeOf(url: string | undefined): Route | undefined {
  const match = /^\/(exec|attach|portforward)\/([A-Za-z0-9_-]{1,64})\/?(?:\?|$)/.exec(url ?? "");
  return match === null ? undefined : { kind: match[1] as Route["kind"], token: match[2]! };
}

/** The items of a list header; Node joins its lines. */
function listOf(header: string | string[] | undefined): string[] {
  const text = Array.isArray(header) ? header.join(",") : (header ?? "");
  return text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

/** The old form knows its ports from the start: those of the CRI request, or of the query, `port=80,81&port=82`. */
function portsOf(asked: PortForward, url: string): readonly number[] {
  const query = new URL(url, "http://x").searchParams.getAll("port").flatMap((text) => text.split(","));
  const ports = asked.ports.length > 0 ? asked.ports : query.map((text) => (/^\d{1,5}$/.test(text) ? Number(text) : 0));
  const isWrong =
    ports.length === 0 || ports.length > maxForwardPorts || ports.some((port) => port < 1 || port > 65535);
  if (isWrong)
    throw new StatusError(Code.InvalidArgument, `name 1 to ${maxForwardPorts} ports from 1 to 65535 with ?port=N`);
  return ports;
}

/** Answers, and closes the connection without waiting for the client for long. */
function refuse(socket: Duplex, status: number, text: string, headers: readonly string[] = []): void {
  const names: Readonly<Record<number, string>> = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
  };
  const body = `${text}\n`;
  const lines = [
    `HTTP/1.1 ${status} ${names[status] ?? "Error"}`,
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
    ...headers,
  ];
  if (socket.writable) socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), refusalMs);
  socket.once("end", () => socket.destroy());
  socket.once("close", () => clearTimeout(timer));
}

/** The URL at which a kubelet on this machine reaches the server. */
function urlOf({ address, port }: AddressInfo, isTls: boolean): string {
  const reachable = address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address;
  return `${isTls ? "https" : "http"}://${isIPv6(reachable) ? `[${reachable}]` : reachable}:${port}`;
}
