import { randomBytes } from "node:crypto";
import { request } from "node:http";
import type { Duplex } from "node:stream";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import type { SpdyStream } from "@keelson/spdy/stream.ts";
import { WebSocket } from "ws";

/** The transports for clients of exec and attach; the newest protocol of each is the default. */
export const transports = ["spdy", "websocket"] as const;
export type Transport = (typeof transports)[number];

export interface Streams {
  readonly stdin?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly tty?: boolean;
}

/** One end of an exec or attach. */
export interface RemoteClient {
  /** What has come so far. */
  readonly stdout: () => Buffer;
  readonly stderr: () => Buffer;
  /** Resolves when the connection has ended, with what came on the error stream. */
  readonly ended: Promise<string>;
  write(bytes: Uint8Array | string): Promise<void>;
  endStdin(): void;
  resize(columns: number, rows: number): void;
  /** Stops reading, and continues. */
  pause(): void;
  resume(): void;
  /** Closes the connection abruptly. */
  vanish(): void;
}

/** The content of a v4 status. */
export interface Status {
  readonly status: string;
  readonly message?: string;
  readonly reason?: string;
  readonly exitCode: number | undefined;
}

export function parseStatus(text: string): Status {
  const value = JSON.parse(text) as {
    status: string;
    message?: string;
    reason?: string;
    details?: { causes: { reason: string; message: string }[] };
  };
  const cause = value.details?.causes.find((cause) => cause.reason === "ExitCode")?.message;
  return { ...value, exitCode: value.status === "Success" ? 0 : cause === undefined ? undefined : Number(cause) };
}

export function connectRemote(
  transport: Transport,
  url: string,
  streams: Streams,
  protocol?: string,
): Promise<RemoteClient> {
  return transport === "spdy"
    ? connectBySpdy(url, streams, protocol ?? "v4.channel.k8s.io")
    : connectByWebSocket(url, protocol ?? "v5.channel.k8s.io");
}

function collect(stream: Duplex | undefined): () => Buffer {
  const parts: Buffer[] = [];
  stream?.on("data", (bytes: Buffer) => parts.push(bytes));
  return () => Buffer.concat(parts);
}

async function connectBySpdy(url: string, streams: Streams, protocol: string): Promise<RemoteClient> {
  const { session } = await connectSpdy(url, { protocols: [protocol] });
  const open = (type: string, wanted: boolean | undefined): SpdyStream | undefined =>
    wanted === true ? session.open({ streamType: type }) : undefined;
  const errors = open("error", true)!;
  const stdin = open("stdin", streams.stdin);
  const [stdout, stderr] = [open("stdout", streams.stdout), open("stderr", streams.stderr)];
  const resize = open("resize", streams.tty === true && protocol >= "v3");
  const all = [errors, stdin, stdout, stderr, resize].filter((stream) => stream !== undefined);
  await Promise.all(all.map((stream) => stream.accepted));
  stdin?.resume();
  const [status, out, err] = [collect(errors), collect(stdout), collect(stderr)];
  return {
    stdout: out,
    stderr: err,
    ended: session.closed.then(() => status().toString()),
    write: (bytes) =>
      new Promise((resolve, reject) => stdin!.write(bytes, (error) => (error ? reject(error) : resolve()))),
    endStdin: () => void stdin!.end(),
    resize: (columns, rows) => void resize!.write(`${JSON.stringify({ Width: columns, Height: rows })}\n`),
    pause: () => void stdout!.pause(),
    resume: () => void stdout!.resume(),
    vanish: () => session.destroy(),
  };
}

/** A WebSocket that skips its own handshake. */
type Handshaken = WebSocket & { setSocket(socket: Duplex, head: Buffer, options: object): void };

/** A WebSocket that is paused until somebody listens. Unlike ws, it accepts Kubernetes' subprotocols with a slash. */
export function openWebSocket(url: string, protocol: string): Promise<WebSocket> {
  const headers = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
    "Sec-WebSocket-Protocol": protocol,
  };
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  const call = request(url, { headers });
  call.on("upgrade", (response, socket, head) => {
    if (response.headers["sec-websocket-protocol"] !== protocol) {
      reject(new Error(`the server chose ${response.headers["sec-websocket-protocol"]}`));
      return;
    }
    // This is what ws does after its own handshake.
    const webSocket = Object.assign(Reflect.construct(WebSocket, [null, undefined, {}]) as Handshaken, {
      _isServer: false,
    });
    webSocket.setSocket(socket, head, { allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false });
    webSocket.pause();
    resolve(webSocket);
  });
  call.on("response", (response) => {
    let text = "";
    response
      .on("data", (bytes: Buffer) => (text += bytes.toString()))
      .on("end", () => reject(new Error(`${response.statusCode} ${text}`)));
  });
  call.on("error", reject).end();
  return promise;
}

async function connectByWebSocket(url: string, protocol: string): Promise<RemoteClient> {
  const isBase64 = protocol.includes("base64");
  const socket = new WebSocket(url.replace(/^http/, "ws"), protocol === "" ? [] : [protocol]);
  const parts: Buffer[][] = [[], [], [], [], []];
  socket.on("message", (data: Buffer) => {
    const channel = isBase64 ? Number(String.fromCharCode(data[0]!)) : data[0]!;
    parts[channel]!.push(isBase64 ? Buffer.from(data.toString("latin1", 1), "base64") : data.subarray(1));
  });
  const ended = new Promise<string>((resolve) =>
    socket.once("close", () => resolve(Buffer.concat(parts[3]!).toString())),
  );
  await new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => {});
  const send = (channel: number, bytes: Uint8Array | string) =>
    new Promise<void>((resolve, reject) => {
      const frame = isBase64
        ? `${channel}${Buffer.from(bytes).toString("base64")}`
        : Buffer.concat([Buffer.of(channel), Buffer.from(bytes)]);
      socket.send(frame, (error) => (error ? reject(error) : resolve()));
    });
  return {
    stdout: () => Buffer.concat(parts[1]!),
    stderr: () => Buffer.concat(parts[2]!),
    ended,
    write: (bytes) => send(0, bytes),
    endStdin: () => socket.send(Buffer.of(255, 0)),
    resize: (columns, rows) => void send(4, JSON.stringify({ Width: columns, Height: rows })),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    vanish: () => socket.terminate(),
  };
}
