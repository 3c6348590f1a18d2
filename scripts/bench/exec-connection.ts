import { once } from "node:events";
import { request } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { dataFrameHead, synStreamFrame } from "@keelson/spdy/frame.ts";
import { HeaderWriter } from "@keelson/spdy/header-block.ts";
import { WebSocket } from "ws";

/** The protocols of exec's clients: `spdy` like Go's clients, or a subprotocol of WebSocket. */
export type ExecProtocol = "spdy" | "v5.channel.k8s.io" | "v4.channel.k8s.io";

/** The stream that an exec has besides the error stream. */
export type ExecStream = "stdin" | "stdout";

/**
 * One exec by a client that does as little as possible: it counts bytes without parsing them, so that the server is
 * measured and not the client. Like Go's clients it has no windows, and sends and takes as much as the connection does.
 */
export interface ExecConnection {
  /** Bytes that have come, with their frames. */
  readonly received: () => number;
  /** Resolves at the end with the last bytes, which contain the status. */
  readonly ended: Promise<string>;
  /** Sends this to stdin; resolves when more can be sent. */
  write(bytes: Buffer): Promise<void>;
  close(): void;
}

/** How many bytes may wait in a WebSocket, which itself has no limit. */
const maxUnsentBytes = 512 * 1024;
/** How much of the end is kept for the status, in bytes. */
const tailBytes = 4096;

export function connectExec(protocol: ExecProtocol, url: string, stream: ExecStream): Promise<ExecConnection> {
  return protocol === "spdy" ? connectBySpdy(url, stream) : connectByWebSocket(url, protocol);
}

/** A client's streams have odd numbers; the error stream comes first. */
const streamId = 3;

function connectBySpdy(url: string, stream: ExecStream): Promise<ExecConnection> {
  return openStreams(url, "v4.channel.k8s.io", [{ streamtype: "error" }, { streamtype: stream }]);
}

/** One forwarded connection in its own session, which stays open when the connection has ended. */
export function connectForward(url: string, port: number): Promise<ExecConnection> {
  const headers = { port: String(port), requestid: "0" };
  return openStreams(url, "portforward.k8s.io", [
    { ...headers, streamtype: "error" },
    { ...headers, streamtype: "data" },
  ]);
}

async function openStreams(
  url: string,
  protocol: string,
  streams: readonly Record<string, string>[],
): Promise<ExecConnection> {
  const socket = await upgrade(url, protocol);
  const counter = new Counter();
  const ended = new Promise<string>((resolve) => socket.once("close", () => resolve(counter.tail)));
  socket.on("data", (bytes: Buffer) => counter.add(bytes));
  socket.on("error", () => {});
  const writer = new HeaderWriter();
  for (const [index, headers] of streams.entries())
    socket.write(synStreamFrame(2 * index + 1, 0, writer.write(headers)));
  // Wait until both streams are accepted: before that a server may drop data.
  while (counter.count === 0 && !socket.destroyed) await sleep(1);
  return {
    received: () => counter.count,
    ended,
    async write(bytes) {
      if (!socket.destroyed) socket.write(dataFrameHead(streamId, bytes.length, false));
      // A server hangs up when its command has ended; the status says whether that was right.
      if (!socket.destroyed && !socket.write(bytes))
        await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), ended]);
    },
    close: () => void socket.destroy(),
  };
}

function upgrade(url: string, protocol: string): Promise<Duplex> {
  const headers = {
    Connection: "Upgrade",
    Upgrade: "SPDY/3.1",
    "X-Stream-Protocol-Version": protocol,
    "Content-Length": "0",
  };
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const req = request(url, { method: "POST", headers, agent: false });
  req.on("upgrade", (_response, socket, head) => {
    if (head.length > 0) socket.unshift(head);
    resolve(socket);
  });
  req.on("response", (response) => {
    response.resume();
    reject(new Error(`${new URL(url).origin}: ${response.statusCode} instead of an upgrade to SPDY/3.1`));
  });
  req.on("error", reject);
  req.end();
  return promise;
}

async function connectByWebSocket(url: string, protocol: string): Promise<ExecConnection> {
  const socket = new WebSocket(url.replace(/^http/, "ws"), [protocol], { perMessageDeflate: false });
  const counter = new Counter();
  socket.on("message", (bytes: Buffer) => counter.add(bytes));
  const ended = new Promise<string>((resolve) => socket.once("close", () => resolve(counter.tail)));
  await once(socket, "open");
  socket.on("error", () => {});
  return {
    received: () => counter.count,
    ended,
    async write(bytes) {
      const frame = Buffer.allocUnsafe(bytes.length + 1);
      frame[0] = 0;
      bytes.copy(frame, 1);
      socket.send(frame);
      while (socket.bufferedAmount > maxUnsentBytes && socket.readyState === WebSocket.OPEN) await immediate();
    },
    close: () => socket.terminate(),
  };
}

class Counter {
  count = 0;
  #last: Buffer[] = [];
  #lastBytes = 0;

  /** Some servers send a frame in many pieces of a few bytes. */
  add(bytes: Buffer): void {
    this.count += bytes.length;
    this.#last.push(bytes);
    this.#lastBytes += bytes.length;
    while (this.#lastBytes - this.#last[0]!.length >= tailBytes) this.#lastBytes -= this.#last.shift()!.length;
  }

  get tail(): string {
    return Buffer.concat(this.#last).toString("latin1").slice(-tailBytes);
  }
}
