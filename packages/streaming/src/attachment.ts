import type { Readable, Writable } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { SeqpacketSocket } from "@keelson/linux/seqpacket.ts";
import type { Outcome } from "./exit-status.ts";
import type { ContainerStreams } from "./messages.ts";
import type { RemoteStreams } from "./remote-streams.ts";

/** The numbers that conmon gives a container's outputs. */
const fromStdout = 2;
const fromStderr = 3;

/** conmon sends up to 8 KiB, after a byte for the stream. */
const maxPacketBytes = 32 * 1024;

/** How much conmon reads of one packet. */
const maxInputPacketBytes = 8 * 1024;

/**
 * How many bytes may wait for a client. The container never waits: a client that reads too slowly is dropped when this
 * is exceeded. The log has all of the output.
 */
const maxWaitingBytes = 8 * 1024 * 1024;

/** Connects a client to a running container's streams until either is gone. */
export async function attachClient(
  container: ContainerStreams,
  client: RemoteStreams,
  wantsStdin: boolean,
): Promise<Outcome> {
  const monitor = new SeqpacketSocket(container.fd, maxPacketBytes);
  const { stdin, stdinOnce, tty } = container;
  const over = Promise.withResolvers<void>();
  const onAbort = () => over.reject(client.signal.reason as Error);
  client.signal.addEventListener("abort", onAbort, { once: true });
  if (client.signal.aborted) onAbort();
  try {
    monitor.on("error", over.resolve).on("end", over.resolve);
    monitor.on("data", (packet: Buffer) => {
      const sink = packet[0] === fromStdout ? client.stdout : packet[0] === fromStderr ? client.stderr : undefined;
      sink?.write(packet.subarray(1));
      if (sink !== undefined && sink.writableLength > maxWaitingBytes)
        over.reject(
          new StatusError(
            Code.ResourceExhausted,
            `the client reads too slowly: ${maxWaitingBytes} bytes of output wait for it; the container's log has all of it`,
          ),
        );
    });
    if (client.stdin !== undefined) {
      void feed(client.stdin, stdin ? monitor : undefined).then(() => {
        // CRI: with stdin_once, the end of the first client's input ends the container's. Otherwise, and with a
        // terminal, only the client leaves.
        if (stdin && stdinOnce && !tty) monitor.end();
        else if (stdin) over.resolve();
      });
    }
    await over.promise;
    return { is: "exited", exitCode: 0 };
  } catch (error) {
    return { is: "failed", message: messageOf(error) };
  } finally {
    client.signal.removeEventListener("abort", onAbort);
    // With stdin_once conmon ends the input when any client ends: for a client without stdin the connection stays open.
    if (stdin && stdinOnce && !wantsStdin) park(monitor);
    else monitor.destroy();
  }
}

/** Keeps reading without a client until the container ends. */
function park(monitor: SeqpacketSocket): void {
  monitor.removeAllListeners("data");
  monitor.on("error", () => monitor.destroy()).on("end", () => monitor.destroy());
  monitor.resume();
}

/** Copies a client's input, in packets that conmon reads whole, until it ends. Without a monitor it is discarded. */
async function feed(source: Readable, monitor: Writable | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  source.once("end", resolve);
  source.on("data", (bytes: Buffer) => {
    if (monitor === undefined || monitor.destroyed || monitor.writableEnded) return;
    let goesOn = true;
    monitor.cork();
    for (let at = 0; at < bytes.length; at += maxInputPacketBytes)
      goesOn = monitor.write(bytes.subarray(at, at + maxInputPacketBytes));
    monitor.uncork();
    if (!goesOn) source.pause();
  });
  monitor?.on("drain", () => source.resume());
  await promise;
}
