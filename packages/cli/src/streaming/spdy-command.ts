import type { Readable } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import type { RemoteCommand, StreamAddress, WantedStreams } from "./command-streams.ts";
import { type ExitStatus, parseExitStatus } from "./exit-status.ts";

/** The preferred one first. v4 reports the exit code, v3 has terminal sizes. */
const protocols = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/** How much of an error's text is read, in bytes. */
const maxStatusBytes = 64 * 1024;

/** Opens a command's streams over SPDY/3.1, in the same order as Kubernetes' clients. */
export async function openSpdyCommand(
  { url, tls, signal }: StreamAddress,
  wanted: WantedStreams,
): Promise<RemoteCommand> {
  const { session, protocol } = await connectSpdy(url, { protocols, tls }, signal);
  const hasSizes = wanted.tty && (protocol === protocols[0] || protocol === protocols[1]);
  try {
    const open = (isWanted: boolean, streamType: string) => (isWanted ? session.open({ streamType }) : undefined);
    const error = session.open({ streamType: "error" });
    const stdin = open(wanted.stdin, "stdin");
    const stdout = open(wanted.stdout, "stdout");
    const stderr = open(wanted.stderr && !wanted.tty, "stderr");
    const sizes = open(hasSizes, "resize");
    await Promise.all(
      [error, stdin, stdout, stderr, sizes].flatMap((stream) => (stream === undefined ? [] : [stream.accepted])),
    );
    return {
      stdin,
      stdout,
      stderr,
      hasStdinEnd: true,
      ended: readStatus(error),
      resize: ({ width, height }) => void sizes?.write(JSON.stringify({ Width: width, Height: height })),
      [Symbol.dispose]: () => session.destroy(),
    };
  } catch (error) {
    session.destroy();
    throw error;
  }
}

async function readStatus(stream: Readable): Promise<ExitStatus> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of stream as AsyncIterable<Buffer>) {
      length += part.length;
      if (length <= maxStatusBytes) parts.push(part);
    }
  } catch (error) {
    throw new StatusError(Code.Unavailable, `the connection to the container is lost: ${messageOf(error)}`, error);
  }
  return parseExitStatus(Buffer.concat(parts).toString("utf8"));
}
