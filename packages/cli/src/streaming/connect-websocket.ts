import type { ClientRequest, IncomingMessage } from "node:http";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { refusalText } from "@keelson/spdy/refusal-text.ts";
import { WebSocket } from "ws";
import type { StreamAddress } from "./command-streams.ts";

/** Far more than any frame of a streaming server, in bytes. */
const maxFrameBytes = 16 * 1024 * 1024;

const codes = new Map<number, Code>([
  [400, Code.InvalidArgument],
  [403, Code.PermissionDenied],
  [404, Code.NotFound],
  [429, Code.ResourceExhausted],
]);

export interface Connected {
  readonly socket: WebSocket;
  /** The subprotocol that the server chose. */
  readonly protocol: string;
}

/**
 * Opens a WebSocket with one of the subprotocols. `prepare` gets it before anything can come. Throws the server's own
 * text when it refuses, Unavailable when it cannot be reached, Unimplemented when it knows none of the subprotocols.
 */
export async function connectWebSocket(
  { url, tls, signal }: StreamAddress,
  protocols: readonly string[],
  prepare: (socket: WebSocket) => void,
): Promise<Connected> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = new WebSocket(url.replace(/^http/, "ws"), {
    perMessageDeflate: false,
    maxPayload: maxFrameBytes,
    ...tls,
    // Kubernetes' name for the tunnel has a slash, which RFC 6455 forbids and `ws` refuses: so the header is set here.
    headers: { "Sec-WebSocket-Protocol": protocols.join(", ") },
    finishRequest(request: ClientRequest) {
      request.prependListener("upgrade", ({ headers }: IncomingMessage) => {
        protocol = headers["sec-websocket-protocol"] ?? "";
        delete headers["sec-websocket-protocol"];
      });
      request.end();
    },
  });
  let protocol = "";
  prepare(socket);
  const onAbort = () => {
    reject(signal.reason as Error);
    socket.terminate();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  socket.once("open", resolve);
  socket.on("error", (error) =>
    reject(new StatusError(Code.Unavailable, `connect to ${new URL(url).origin}: ${messageOf(error)}`, error)),
  );
  socket.once(
    "unexpected-response",
    (request, response) =>
      void refusal(url, response)
        .then(reject)
        .finally(() => request.destroy()),
  );
  try {
    await promise;
    if (protocols.includes(protocol)) return { socket, protocol };
    socket.terminate();
    throw new StatusError(
      Code.Unimplemented,
      `the runtime has no ${protocols.join(" or ")} on WebSockets; use --transport spdy`,
    );
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function refusal(url: string, response: IncomingMessage): Promise<StatusError> {
  const text = await refusalText(response);
  const status = response.statusCode ?? 0;
  // Go's WebSocket servers answer this when they know none of the subprotocols, as containerd does for port-forward.
  if (status === 403 && text === "")
    return new StatusError(
      Code.Unimplemented,
      `${new URL(url).origin}: the runtime does not support this over WebSocket (403); use --transport spdy`,
    );
  return new StatusError(
    codes.get(status) ?? Code.Internal,
    `${new URL(url).origin}: the server answered ${status} ${response.statusMessage ?? ""}${text === "" ? "" : `: ${text}`}`,
  );
}
