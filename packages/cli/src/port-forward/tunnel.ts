import type { Duplex } from "node:stream";
import { setTimeout } from "node:timers/promises";
import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import { SpdySession } from "@keelson/spdy/session.ts";
import { createWebSocketStream } from "ws";
import type { StreamAddress } from "../streaming/command-streams.ts";
import { connectWebSocket } from "../streaming/connect-websocket.ts";
import { withoutToken } from "../streaming/stream-url.ts";
import type { Transport } from "../streaming/transport.ts";

/** The subprotocol of port-forward on SPDY streams. */
const forwardProtocol = "portforward.k8s.io";

/** SPDY within the frames of a WebSocket. */
const tunnelProtocol = "SPDY/3.1+portforward.k8s.io";

/** How much of an error's text is read, in bytes. */
const maxErrorBytes = 16 * 1024;

/** How long to wait, after a connection's end, for the reason, in ms. */
const lastWordsMs = 200;

/** A tunnel into a pod for any number of connections to any of its ports. */
export interface Tunnel extends Disposable {
  readonly isOver: boolean;
  /**
   * Joins a connection with a port of the pod until both sides have ended. Throws the runtime's reason when that fails.
   */
  forward(client: Duplex, podPort: number): Promise<void>;
}

/** Opens a tunnel. The address works only once, and only for a minute. */
export async function openTunnel(address: StreamAddress, transport: Transport): Promise<Tunnel> {
  try {
    return tunnelOn(await openSession(address, transport));
  } catch (error) {
    throw new StatusError(codeOf(error), withoutToken(address.url, messageOf(error)), error);
  }
}

async function openSession(address: StreamAddress, transport: Transport): Promise<SpdySession> {
  if (transport === "spdy")
    return (await connectSpdy(address.url, { protocols: [forwardProtocol], tls: address.tls }, address.signal)).session;
  let stream: Duplex | undefined;
  await connectWebSocket(address, [tunnelProtocol], (socket) => (stream = createWebSocketStream(socket)));
  return new SpdySession(stream!, { role: "client" });
}

function tunnelOn(session: SpdySession): Tunnel {
  let isOver = false;
  void session.closed.then(() => (isOver = true));
  let requests = 0;
  return {
    get isOver() {
      return isOver;
    },
    [Symbol.dispose]: () => session.destroy(),
    async forward(client, podPort) {
      // The server pairs an error stream and a data stream by this number.
      const headers = { port: String(podPort), requestID: String(requests) };
      requests += 1;
      const errors = session.open({ streamType: "error", ...headers });
      errors.end();
      const refused = readError(errors).then((text) => {
        if (text !== "") throw new StatusError(Code.Unavailable, text);
      });
      try {
        const closed = join(client, session.open({ streamType: "data", ...headers }));
        await Promise.race([closed, refused.then(() => closed)]);
        // The reason why the other side ended it may come a moment later.
        await Promise.race([refused, setTimeout(lastWordsMs, undefined, { ref: false })]);
      } finally {
        refused.catch(() => {});
        errors.destroy();
        client.destroy();
      }
    },
  };
}

/**
 * Passes bytes both ways, each half until its end. Resolves when the client is closed, and with it the pod's stream.
 * Throws when the stream was refused or the session was lost; a pod that just hangs up is no error.
 */
async function join(client: Duplex, data: Duplex): Promise<void> {
  const closed = new Promise<void>((resolve) => client.once("close", resolve));
  client.on("error", () => {});
  client.on("close", () => void data.destroy());
  data.on("close", () => {
    if (data.errored === null) return;
    if (!data.readableEnded) client.destroy();
    // The pod has said all and takes no more. What the client still sends is read, and discarded: closed with bytes
    // unread, its connection would be reset, and lose what it has not taken yet.
    else client.resume();
  });
  client.pipe(data);
  data.pipe(client);
  await closed;
  const code = data.errored === null ? Code.Ok : codeOf(data.errored);
  if (code === Code.ResourceExhausted || code === Code.Unavailable) throw data.errored!;
}

async function readError(stream: Duplex): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    length += part.length;
    if (length <= maxErrorBytes) parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8").trim();
}
