import { Readable, Writable } from "node:stream";
import { Code, StatusError } from "@keelson/base/status.ts";
import type WebSocket from "ws";
import type { RemoteCommand, StreamAddress, WantedStreams } from "./command-streams.ts";
import { connectWebSocket } from "./connect-websocket.ts";
import { type ExitStatus, parseExitStatus } from "./exit-status.ts";

/** The preferred one first: v5 has a message for the end of stdin. */
const protocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/** Kubernetes' channels: the first byte of each message. */
const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

/** Opens a command's streams as channels of one WebSocket. */
export async function openWebSocketCommand(address: StreamAddress, wanted: WantedStreams): Promise<RemoteCommand> {
  const { promise: ended, resolve, reject } = Promise.withResolvers<ExitStatus>();
  ended.catch(() => {});
  // An output that is not read holds up the other one too, because both share one connection.
  let resume = () => {};
  const output = (isWanted: boolean) => (isWanted ? new Readable({ read: () => resume() }) : undefined);
  const stdout = output(wanted.stdout);
  const stderr = output(wanted.stderr && !wanted.tty);
  let hasEnded = false;
  const endOutputs = () => {
    if (hasEnded) return;
    hasEnded = true;
    stdout?.push(null);
    stderr?.push(null);
  };
  const { socket, protocol } = await connectWebSocket(address, protocols, (one) => {
    resume = () => {
      if (one.isPaused) one.resume();
    };
    one.on("message", (data: Buffer, isBinary) => {
      if (!isBinary || data.length < 2 || hasEnded) return;
      const bytes = data.subarray(1);
      if (data[0] === channel.stdout && stdout?.push(bytes) === false) one.pause();
      if (data[0] === channel.stderr && stderr?.push(bytes) === false) one.pause();
      if (data[0] !== channel.error) return;
      // The status comes last: all output has come before it.
      endOutputs();
      void Promise.try(parseExitStatus, bytes.toString("utf8")).then(resolve, reject);
    });
    one.on("close", () => {
      reject(new StatusError(Code.Unavailable, "the connection to the container is lost"));
      endOutputs();
    });
  });
  const hasStdinEnd = protocol === protocols[0];
  return {
    stdin: wanted.stdin ? stdinOf(socket, hasStdinEnd) : undefined,
    stdout,
    stderr,
    hasStdinEnd,
    ended,
    resize: ({ width, height }) =>
      socket.send(
        Buffer.concat([Uint8Array.of(channel.resize), Buffer.from(JSON.stringify({ Width: width, Height: height }))]),
        () => {},
      ),
    [Symbol.dispose]: () => hangUp(socket),
  };
}

function stdinOf(socket: WebSocket, hasStdinEnd: boolean): Writable {
  const stream = new Writable({
    write: (bytes: Buffer, _encoding, done) => socket.send(Buffer.concat([Uint8Array.of(channel.stdin), bytes]), done),
    final: (done) => {
      if (hasStdinEnd) socket.send(Uint8Array.of(channel.close, channel.stdin), done);
      else done();
    },
  });
  // `ended` reports the command's end.
  stream.on("error", () => {});
  return stream;
}

/** Announces the end, and does not wait for the answer. */
function hangUp(socket: WebSocket): void {
  socket.close(1000);
  socket.terminate();
}
