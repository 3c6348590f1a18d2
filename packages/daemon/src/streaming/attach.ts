import type { Duplex, Readable, Writable } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { SeqpacketSocket } from "@keelson/linux/seqpacket.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import type { Deps } from "../deps.ts";
import type { Outcome } from "./exit-status.ts";
import type { RemoteStreams } from "./remote-streams.ts";
import { stillRunning } from "./running-container.ts";
import type { RemoteCommand } from "./server.ts";

type Attach = Extract<RemoteCommand, { is: "attach" }>;

/** conmon's numbers for what a container writes. */
const fromStdout = 2;
const fromStderr = 3;

/** conmon sends 8 KiB and a byte for the stream. */
const maxPacketBytes = 32 * 1024;

/** What conmon reads of one packet. */
const maxInputPacketBytes = 8 * 1024;

/**
 * What may wait for a client, in bytes. The container never waits: a client that reads more slowly than it writes is
 * dropped when this is full. The log has all of it.
 */
const maxWaitingBytes = 8 * 1024 * 1024;

/** Connects a client with a running container's streams until either is gone. */
export async function attach(d: Deps, request: Attach, streams: RemoteStreams): Promise<void> {
  await streams.finish(await outcomeOf(d, request, streams));
}

async function outcomeOf(d: Deps, { containerId, choice }: Attach, streams: RemoteStreams): Promise<Outcome> {
  let leave = () => {};
  try {
    const container = stillRunning(d, containerId);
    const runtimeContainer = runtimeContainerOf(d, container);
    const { runtime } = d.runtimes.handlerOf(container.handler);
    const monitor = new SeqpacketSocket(await runtime.attach(runtimeContainer, streams.signal), maxPacketBytes);
    leave = () => void monitor.destroy();
    const { stdin, stdinOnce, tty } = container.config;
    const over = Promise.withResolvers<void>();
    monitor.on("error", over.resolve).on("end", over.resolve);
    const resize = (size: { rows: number; columns: number }) =>
      void runtime.resizeTerminal(runtimeContainer, size).catch((error: unknown) => d.log.debug({ id: containerId, err: error }, "the terminal of a container cannot be resized"));
    if (streams.sizes?.last !== undefined) resize(streams.sizes.last);
    streams.sizes?.follow(resize);
    monitor.on("data", (packet: Buffer) => {
      const sink = packet[0] === fromStdout ? streams.stdout : packet[0] === fromStderr ? streams.stderr : undefined;
      sink?.write(packet.subarray(1));
      if (sink !== undefined && sink.writableLength > maxWaitingBytes) over.reject(new StatusError(Code.ResourceExhausted, `the client reads too slowly: ${maxWaitingBytes} bytes of output wait for it; the container's log has all of it`));
    });
    if (streams.stdin !== undefined) {
      void feed(streams.stdin, stdin ? monitor : undefined).then(() => {
        // CRI: with stdin_once, the end of the first client's input is the container's; with a terminal, or without, the client leaves.
        if (stdin && stdinOnce && !tty) monitor.end();
        else if (stdin) over.resolve();
      });
    }
    const onAbort = () => over.reject(streams.signal.reason as Error);
    if (streams.signal.aborted) onAbort();
    streams.signal.addEventListener("abort", onAbort, { once: true });
    // conmon takes the end of any client for the end of input when it is to come once: one that had none stays.
    if (stdin && stdinOnce && !choice.stdin) leave = () => park(monitor);
    await over.promise;
    return { is: "exited", exitCode: 0 };
  } catch (error) {
    return { is: "failed", message: messageOf(error) };
  } finally {
    leave();
  }
}

/** Reads on without a client until the container ends. */
function park(monitor: Duplex): void {
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
    for (let at = 0; at < bytes.length; at += maxInputPacketBytes) goesOn = monitor.write(bytes.subarray(at, at + maxInputPacketBytes));
    if (!goesOn) source.pause();
  });
  monitor?.on("drain", () => source.resume());
  await promise;
}
