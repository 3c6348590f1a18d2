import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Duplex, PassThrough, Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";
import { SpdySession } from "@keelson/spdy/session.ts";
import type { SpdyStream } from "@keelson/spdy/stream.ts";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";

/** A command's side of the streams. */
export interface ServedStreams {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Terminal sizes as they come, in JSON. */
  readonly sizes: string[];
  /** Breaks the connection. */
  readonly drop: () => void;
}

export interface FakeStreaming {
  /** The address for a command with these streams: `error,stdin,stdout,stderr,resize`. */
  readonly commandUrl: (streams: { stdin: boolean; stdout: boolean; stderr: boolean; tty: boolean }) => string;
  readonly forwardUrl: string;
}

export interface FakeStreamingOptions {
  /** Runs a command and returns what goes to the error stream. */
  readonly command?: (streams: ServedStreams) => Promise<string>;
  /** Serves a connection to a port; an error that it throws goes to the error stream. */
  readonly forward?: (port: number, connection: Duplex) => void;
  /** The subprotocols of WebSockets; v5 by default. */
  readonly webSocketProtocols?: readonly string[];
}

/** A streaming server like a runtime's, for both transports. */
export async function startFakeStreaming(t: TestContext, options: FakeStreamingOptions): Promise<FakeStreaming> {
  const {
    command = () => Promise.resolve(""),
    forward = () => {},
    webSocketProtocols = ["v5.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"],
  } = options;
  const sockets = new Set<Duplex>();
  const webSockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => webSocketProtocols.find((one) => offered.has(one)) ?? false,
  });
  const server = createServer((_, response) => response.writeHead(404).end("no such token\n"));
  server.on("upgrade", (request, socket, head) => {
    sockets.add(socket);
    socket.on("error", () => {});
    const url = new URL(request.url!, "http://x");
    const names = (url.searchParams.get("streams") ?? "").split(",");
    if (request.headers.upgrade === "websocket") {
      // `ws` refuses the tunnel's name, which has a slash.
      const offered = request.headers["sec-websocket-protocol"] ?? "";
      if (offered.includes("/")) delete request.headers["sec-websocket-protocol"];
      if (offered.includes("/"))
        webSockets.once("headers", (headers) => headers.push(`Sec-WebSocket-Protocol: ${offered}`));
      webSockets.handleUpgrade(request, socket, head, (one) => {
        if (url.pathname === "/forward") serveForward(createWebSocketStream(one), forward);
        else serveChannels(one, command);
      });
      return;
    }
    const protocol = url.pathname === "/forward" ? "portforward.k8s.io" : "v4.channel.k8s.io";
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
    );
    if (url.pathname === "/forward") serveForward(socket, forward);
    else serveSpdy(socket, names, command);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    commandUrl: ({ stdin, stdout, stderr, tty }) => {
      const names = ["error", stdin && "stdin", stdout && "stdout", stderr && "stderr", tty && "resize"].filter(
        (name) => name !== false,
      );
      return `${origin}/exec/token?streams=${names.join(",")}`;
    },
    forwardUrl: `${origin}/forward`,
  };
}

function serveSpdy(
  socket: Duplex,
  names: readonly string[],
  command: NonNullable<FakeStreamingOptions["command"]>,
): void {
  const streams = new Map<string, SpdyStream>();
  const session = new SpdySession(socket, {
    role: "server",
    onStream: (stream) => {
      stream.reply();
      streams.set(stream.headers.get("streamtype")!, stream);
      if (streams.size === names.length) void serve();
    },
  });
  const serve = async () => {
    const sizes: string[] = [];
    streams.get("resize")?.on("data", (data) => sizes.push(String(data)));
    const status = await command({
      stdin: streams.get("stdin") ?? Readable.from([]),
      stdout: streams.get("stdout") ?? new PassThrough(),
      stderr: streams.get("stderr") ?? new PassThrough(),
      sizes,
      drop: () => session.destroy(),
    });
    streams.get("error")!.end(status);
    streams.get("stdout")?.end();
    streams.get("stderr")?.end();
  };
}

function serveChannels(socket: WebSocket, command: NonNullable<FakeStreamingOptions["command"]>): void {
  const stdin = new PassThrough();
  const sizes: string[] = [];
  socket.on("message", (data: Buffer) => {
    if (data[0] === 0) stdin.write(data.subarray(1));
    if (data[0] === 4) sizes.push(data.toString("utf8", 1));
    if (data[0] === 255 && data[1] === 0) stdin.end();
  });
  const output = (channel: number) =>
    new Writable({
      write: (bytes: Buffer, _, done) => socket.send(Buffer.concat([Uint8Array.of(channel), bytes]), done),
    });
  const stderr = output(2);
  void command({ stdin, stdout: output(1), stderr, sizes, drop: () => socket.terminate() }).then((status) => {
    socket.send(Buffer.concat([Uint8Array.of(3), Buffer.from(status)]));
    socket.close(1000);
  });
}

function serveForward(transport: Duplex, forward: NonNullable<FakeStreamingOptions["forward"]>): void {
  const errors = new Map<string, SpdyStream>();
  void new SpdySession(transport, {
    role: "server",
    onStream: (stream) => {
      stream.reply();
      const id = stream.headers.get("requestid")!;
      if (stream.headers.get("streamtype") === "error") {
        errors.set(id, stream);
        return;
      }
      try {
        forward(Number(stream.headers.get("port")), stream);
        stream.once("close", () => errors.get(id)!.end());
      } catch (error) {
        errors.get(id)!.end(String(error));
        stream.end();
      }
    },
  });
}
