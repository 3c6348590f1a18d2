import { messageOf } from "@keelson/base/status.ts";
import type WebSocket from "ws";
import type { ConnectionRules } from "./connection-rules.ts";
import type { Forward } from "./spdy-forward.ts";
import { type ChannelEncoding, WebSocketChannels } from "./websocket-channels.ts";

/** SPDY within the frames of a WebSocket, as kubectl and crictl use it. */
export const tunnelProtocol = "SPDY/3.1+portforward.k8s.io";

/** The subprotocols of the old form, with one connection for each port. "" is for a client that names none. */
export const forwardEncodings: Readonly<Record<string, ChannelEncoding>> = {
  "v4.channel.k8s.io": "binary",
  "v4.base64.channel.k8s.io": "base64",
  "portforward.k8s.io": "binary",
  "": "binary",
};

/** A channel is a byte, or in base64 a character from "0" to "~", and each port has two. */
export const maxForwardPorts = 32;

/** How long a pod that has said all may take for what the client had sent it before, in ms. */
const lastInputMs = 500;

/**
 * Port i has channels 2i for data and 2i+1 for errors. Each begins with the port in two bytes, little-endian. A channel
 * has no message for its end: when the pod has said all on a port, that port is closed, and with the last one the
 * connection, which is all that tells the client.
 */
export async function forwardChannels(
  socket: WebSocket,
  { encoding, ports }: { encoding: ChannelEncoding; ports: readonly number[] },
  forward: Forward,
  { watchIdle, closing }: ConnectionRules,
): Promise<void> {
  const channels = new WebSocketChannels(socket, encoding, false);
  const onAbort = () => channels.destroy();
  closing.addEventListener("abort", onAbort, { once: true });
  using _ = watchIdle(
    () => channels.touchedAtMs,
    () => channels.destroy(),
  );
  const forwards = ports.map(async (port, i) => {
    const name = Buffer.from([port & 0xff, port >> 8]);
    channels.send(2 * i, name);
    channels.send(2 * i + 1, name);
    const client = channels.duplex(2 * i);
    client.once("finish", () => setTimeout(() => client.destroy(), lastInputMs).unref());
    const closed = new Promise((resolve) => client.once("close", resolve));
    const forwarded = forward(port, client, channels.signal).catch((error: unknown) =>
      channels.send(2 * i + 1, Buffer.from(messageOf(error))),
    );
    await Promise.race([closed, forwarded]);
    client.destroy();
  });
  await Promise.all(forwards);
  await channels.close();
  closing.removeEventListener("abort", onAbort);
}
