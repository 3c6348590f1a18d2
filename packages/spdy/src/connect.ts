import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { SecureContextOptions } from "node:tls";
import { http, https } from "@keelson/base/http.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { refusalText } from "./refusal-text.ts";
import { type SessionOptions, SpdySession } from "./session.ts";

export interface ConnectOptions {
  /** Kubernetes' protocols for the streams, the preferred one first: "v4.channel.k8s.io", "portforward.k8s.io". */
  readonly protocols: readonly string[];
  /** For https: certificates, and `servername` when the certificate has another name than the URL. */
  readonly tls?: SecureContextOptions & { readonly servername?: string; readonly rejectUnauthorized?: boolean };
  readonly session?: Omit<SessionOptions, "role">;
}

export interface Connection {
  readonly session: SpdySession;
  /** The one of `protocols` that the server chose; "" when it named none, which means the oldest. */
  readonly protocol: string;
}

/**
 * Opens a session with an HTTP/1.1 upgrade to SPDY/3.1, as Kubernetes' streaming servers expect. Throws NotFound,
 * ResourceExhausted, … with the server's own text when it refuses, Unavailable when it cannot be reached, and the
 * signal's reason when aborted.
 */
export async function connectSpdy(url: string, options: ConnectOptions, signal?: AbortSignal): Promise<Connection> {
  const { transport, headers } = await upgrade(url, options, signal);
  const protocol = headers["x-stream-protocol-version"];
  return {
    session: new SpdySession(transport, { ...options.session, role: "client" }),
    protocol: typeof protocol === "string" ? protocol : "",
  };
}

interface Upgraded {
  readonly transport: Duplex;
  readonly headers: IncomingHttpHeaders;
}

function upgrade(url: string, options: ConnectOptions, signal: AbortSignal | undefined): Promise<Upgraded> {
  signal?.throwIfAborted();
  const isTls = new URL(url).protocol === "https:";
  const headers = {
    Connection: "Upgrade",
    Upgrade: "SPDY/3.1",
    "X-Stream-Protocol-Version": [...options.protocols],
    "Content-Length": "0",
  };
  const { promise, resolve, reject } = Promise.withResolvers<Upgraded>();
  const request = (isTls ? https : http).request(url, { method: "POST", headers, agent: false, ...options.tls });
  const onAbort = () => request.destroy(signal?.reason as Error);
  signal?.addEventListener("abort", onAbort, { once: true });
  request.on("upgrade", (response, socket, head) => {
    if (head.length > 0) socket.unshift(head);
    if (socket instanceof Socket) socket.setNoDelay(true);
    const protocol = response.headers.upgrade?.toLowerCase();
    if (protocol === "spdy/3.1") resolve({ transport: socket, headers: response.headers });
    else
      reject(
        new StatusError(Code.Internal, `${url}: the server switched to ${protocol ?? "nothing"} instead of SPDY/3.1`),
      );
    if (protocol !== "spdy/3.1") socket.destroy();
  });
  request.on("response", (response) => void refusal(url, response).then(reject));
  request.on("error", (error) =>
    reject(
      signal?.aborted === true
        ? (signal.reason as Error)
        : new StatusError(Code.Unavailable, `connect to ${url}: ${messageOf(error)}`, error),
    ),
  );
  request.end();
  return promise.finally(() => signal?.removeEventListener("abort", onAbort));
}

/** What a streaming server's HTTP statuses mean. */
const codes = new Map<number, Code>([
  [400, Code.InvalidArgument],
  [401, Code.Unauthenticated],
  [403, Code.PermissionDenied],
  [404, Code.NotFound],
  [429, Code.ResourceExhausted],
  [503, Code.Unavailable],
]);

async function refusal(url: string, response: IncomingMessage): Promise<StatusError> {
  const status = response.statusCode ?? 0;
  const text = await refusalText(response);
  return new StatusError(
    codes.get(status) ?? Code.Internal,
    `${new URL(url).origin}: the server answered ${status} ${response.statusMessage ?? ""}${text === "" ? "" : `: ${text}`}`,
  );
}
