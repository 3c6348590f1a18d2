import type { Duplex } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { SpdySession } from "@keelson/spdy/session.ts";
import type { SpdyStream } from "@keelson/spdy/stream.ts";
import type { ConnectionRules } from "./connection-rules.ts";
import { ended } from "./remote-streams.ts";

/** Joins one connection of a client with a port of the pod until both end. Throws with a message for the client. */
export type Forward = (port: number, client: Duplex, signal: AbortSignal) => Promise<void>;

export const portForwardProtocol = "portforward.k8s.io";

/** Two for each forwarded connection. */
const maxStreams = 4096;

interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/**
 * Forwards the connections of a client until it closes the session. Each has a stream of type `data` and one of type
 * `error` with the same `requestID`, which must come within the creation timeout of each other.
 */
export async function forwardSession(
  transport: Duplex,
  forward: Forward,
  { watchIdle, creationTimeoutMs, closing }: ConnectionRules,
): Promise<void> {
  const pairs = new Map<string, Pair>();
  const abort = new AbortController();
  const session = new SpdySession(transport, {
    role: "server",
    maxStreams,
    sessionWindowBytes: 4 * 1024 * 1024,
    onStream(stream) {
      const type = stream.headers.get("streamtype");
      const port = portOf(stream.headers.get("port"));
      if ((type !== "data" && type !== "error") || port === undefined) {
        stream.reset();
        return;
      }
      stream.reply();
      const id = requestId(stream, type);
      const pair = pairs.get(id) ?? newPair(id);
      if (pair[type] !== undefined) {
        refuse(stream, `request ${id} has a stream of type ${type} already`);
        return;
      }
      pair[type] = stream;
      const { data, error } = pair;
      if (data === undefined || error === undefined) return;
      clearTimeout(pair.timer);
      pairs.delete(id);
      void forwardPair({ data, error }, (client) => forward(port, client, abort.signal));
    },
  });
  const newPair = (id: string): Pair => {
    const timer = setTimeout(() => {
      pairs.delete(id);
      if (pair.error !== undefined)
        refuse(pair.error, `request ${id} has no data stream after ${creationTimeoutMs / 1000} s`);
      pair.data?.reset();
    }, creationTimeoutMs);
    const pair: Pair = { timer };
    pairs.set(id, pair);
    return pair;
  };
  const onAbort = () => session.destroy(new StatusError(Code.Unavailable, messageOf(closing.reason)));
  closing.addEventListener("abort", onAbort, { once: true });
  using _ = watchIdle(
    () => session.touchedAtMs,
    () => session.destroy(new StatusError(Code.DeadlineExceeded, "the connection was idle for too long")),
  );
  await session.closed;
  closing.removeEventListener("abort", onAbort);
  for (const { timer } of pairs.values()) clearTimeout(timer);
  abort.abort(new StatusError(Code.Cancelled, "the client closed the connection"));
}

async function forwardPair(
  { data, error }: { data: SpdyStream; error: SpdyStream },
  forward: (client: Duplex) => Promise<void>,
): Promise<void> {
  error.resume();
  try {
    await forward(data);
    await ended(error);
    error.destroy();
  } catch (thrown) {
    // Clients read the error stream to its end and take any text in it as the reason.
    refuse(error, messageOf(thrown));
    data.destroy();
  }
}

function refuse(error: SpdyStream, text: string): void {
  error.resume();
  error.once("finish", () => error.destroy());
  error.end(text);
}

/** Clients before Kubernetes 1.1 sent no `requestID`: their error stream came first, and the data stream next. */
function requestId(stream: SpdyStream, type: "data" | "error"): string {
  return stream.headers.get("requestid") ?? `stream ${type === "error" ? stream.id : stream.id - 2}`;
}

function portOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65535 ? port : undefined;
}
