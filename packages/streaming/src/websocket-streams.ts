import { Code, StatusError } from "@keelson/base/status.ts";
import type WebSocket from "ws";
import type { ConnectionRules } from "./connection-rules.ts";
import { type Outcome, type StatusFormat, statusText } from "./exit-status.ts";
import { ended, type RemoteStreams, type StreamChoice } from "./remote-streams.ts";
import { TerminalSizes } from "./terminal-sizes.ts";
import { type ChannelEncoding, WebSocketChannels } from "./websocket-channels.ts";

interface Dialect {
  readonly encoding: ChannelEncoding;
  readonly status: StatusFormat;
  /** Whether there is a message for the end of stdin. */
  readonly hasCloseSignal: boolean;
}

/** The subprotocols of exec and attach. "" is for a client that names none. */
export const remoteCommandDialects: Readonly<Record<string, Dialect>> = {
  "v5.channel.k8s.io": { encoding: "binary", status: "json", hasCloseSignal: true },
  "v4.channel.k8s.io": { encoding: "binary", status: "json", hasCloseSignal: false },
  "v4.base64.channel.k8s.io": { encoding: "base64", status: "json", hasCloseSignal: false },
  "channel.k8s.io": { encoding: "binary", status: "text", hasCloseSignal: false },
  "base64.channel.k8s.io": { encoding: "base64", status: "text", hasCloseSignal: false },
  "": { encoding: "binary", status: "text", hasCloseSignal: false },
};

const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;

/** The streams of a WebSocket client; all channels exist from the start. */
export function webSocketStreams(
  socket: WebSocket,
  dialect: Dialect,
  choice: StreamChoice,
  { watchIdle }: ConnectionRules,
): RemoteStreams {
  const channels = new WebSocketChannels(socket, dialect.encoding, dialect.hasCloseSignal);
  const sizes = choice.tty ? new TerminalSizes() : undefined;
  const stdin = choice.stdin ? channels.readable(channel.stdin) : undefined;
  const stdout = choice.stdout ? channels.writable(channel.stdout) : undefined;
  const stderr = choice.stderr ? channels.writable(channel.stderr) : undefined;
  channels.listen(channel.resize, (bytes) => sizes?.write(bytes));
  // Clients wait for a first frame to know that the channels exist.
  channels.send(choice.stdout ? channel.stdout : choice.stderr ? channel.stderr : channel.error, new Uint8Array(0));
  const watch = watchIdle(
    () => channels.touchedAtMs,
    () => channels.destroy(),
  );
  const signal = channels.signal;
  signal.addEventListener("abort", () => watch[Symbol.dispose](), { once: true });
  return {
    stdin,
    stdout,
    stderr,
    sizes,
    signal,
    async finish(outcome: Outcome) {
      await Promise.all([ended(stdout), ended(stderr)]);
      const text = statusText(outcome, dialect.status);
      if (text !== "") channels.send(channel.error, Buffer.from(text));
      await channels.close();
    },
  };
}

/**
 * The first of a client's subprotocols that the server knows; "" for a client that names none, if the server knows
 * that. Throws InvalidArgument naming the subprotocols of both sides.
 */
export function chooseSubprotocol(offered: readonly string[], known: readonly string[]): string {
  const found =
    offered.length === 0
      ? known.find((name) => name === "")
      : offered.find((name) => name !== "" && known.includes(name));
  if (found !== undefined) return found;
  throw new StatusError(
    Code.InvalidArgument,
    `no common protocol: the client speaks ${offered.join(", ") || "none"}, the server ${known.filter((name) => name !== "").join(", ")}`,
  );
}
