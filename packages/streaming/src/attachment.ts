import type { Readable, Writable } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { SeqpacketSocket } from "@keelson/linux/seqpacket.ts";
import type { Outcome } from "./exit-status.ts";
import type { ContainerStreams } from "./messages.ts";
import type { RemoteStreams } from "./remote-streams.ts";

/** The numbers of what a container writes. */
const fromStdout = 2;
const fromStderr = 3;

/** conmon sends 8 KiB and a byte for the stream. */
const maxPacketBytes = 32 * 1024;

/** What is taken of one packet. */
const maxInputPacketBytes = 8 * 1024;

/**
 * What may wait for a client, in bytes. The container never waits: a client that reads more slowly than it writes is
 * dropped when this is full. The log has all of it.
 */
const maxWaitingBytes = 8 * 1024 * 1024;

/** Connects a client with a running container's streams until either is gone. */
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
        // CRI: with stdin_once, the end of the first client's input is the container's; with a terminal, or without, the client leaves.
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
    // conmon takes the end of any client for the end of input when it is to come once: one that had none stays.
    if (stdin && stdinOnce && !wantsStdin) park(monitor);
    else monitor.destroy();
  }
}

/** Reads on without a client until the container ends. */
function park(monitor: SeqpacketSocket): void {
  monitor.removeAllListeners("data");
  monitor.on("error", () => monitor.destroy()).on("end", () => monitor.destroy());
  monitor.resume();
}

/** Copies a client's input in packets that the monitor takes whole; resolves when it has ended. Without a monitor it is thrown away. */
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
