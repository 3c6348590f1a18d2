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

/** Port i has channels 2i for data and 2i+1 for errors. Each begins with the port in two bytes, little-endian. */
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
    try {
      await forward(port, client, channels.signal);
    } catch (error) {
      channels.send(2 * i + 1, Buffer.from(messageOf(error)));
    } finally {
      client.destroy();
    }
  });
  await Promise.all(forwards);
  await channels.close();
  closing.removeEventListener("abort", onAbort);
}
