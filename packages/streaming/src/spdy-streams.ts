import type { Duplex } from "node:stream";
import { Code, StatusError } from "@keelson/base/status.ts";
import { SpdySession } from "@keelson/spdy/session.ts";
import type { SpdyStream } from "@keelson/spdy/stream.ts";
import { type Outcome, type StatusFormat, statusText } from "./exit-status.ts";
import { ended, type RemoteStreams, type StreamChoice } from "./remote-streams.ts";
import { TerminalSizes } from "./terminal-sizes.ts";

/** What `X-Stream-Protocol-Version` may name, the newest first. "" stands for the first, which had no name. */
export const remoteCommandProtocols = [
  "v4.channel.k8s.io",
  "v3.channel.k8s.io",
  "v2.channel.k8s.io",
  "channel.k8s.io",
] as const;
export type RemoteCommandProtocol = (typeof remoteCommandProtocols)[number] | "";

type StreamType = "error" | "stdin" | "stdout" | "stderr" | "resize";

/** A client opens at most five; a few more leave room to say what is wrong with them. */
const maxStreams = 16;

/**
 * Waits until a client has opened all its streams. Throws DeadlineExceeded when the signal says that it took too long,
 * InvalidArgument for streams that were not asked for or come twice; the connection is then closed.
 */
export async function acceptRemoteStreams(
  transport: Duplex,
  protocol: RemoteCommandProtocol,
  choice: StreamChoice,
  idle: IdleWatch,
  timeoutMs: number,
): Promise<RemoteStreams> {
  const wanted = wantedStreams(protocol, choice);
  const streams = new Map<StreamType, SpdyStream>();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const session = new SpdySession(transport, {
    role: "server",
    maxStreams,
    onStream(stream) {
      const type = (stream.headers.get("streamtype") ?? "") as StreamType;
      if (!wanted.has(type) || streams.has(type)) {
        stream.reset();
        reject(
          new StatusError(
            Code.InvalidArgument,
            `the client opened a stream of type ${JSON.stringify(type)}, which it did not ask for or has already`,
          ),
        );
        return;
      }
      streams.set(type, stream);
      stream.reply();
      if (streams.size === wanted.size) resolve();
    },
  });
  const timer = setTimeout(
    () =>
      reject(
        new StatusError(
          Code.DeadlineExceeded,
          `the client has opened ${streams.size} of ${wanted.size} streams within ${timeoutMs / 1000} s`,
        ),
      ),
    timeoutMs,
  );
  void session.closed.then((reason) =>
    reject(reason ?? new StatusError(Code.Cancelled, "the client closed the connection before its streams were there")),
  );
  try {
    await promise;
  } catch (error) {
    session.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return remoteStreams(session, streams, protocol === "v4.channel.k8s.io" ? "json" : "text", choice, idle);
}

/** Tells when a connection has been still for too long; `touched` is asked for when it was not, by performance.now(). */
export type IdleWatch = (touchedAtMs: () => number, onIdle: () => void) => Disposable;

/** Resizing came with v3. */
function wantedStreams(protocol: RemoteCommandProtocol, choice: StreamChoice): Set<StreamType> {
  const wanted = new Set<StreamType>(["error"]);
  for (const name of ["stdin", "stdout", "stderr"] as const) if (choice[name]) wanted.add(name);
  if (choice.tty && (protocol === "v4.channel.k8s.io" || protocol === "v3.channel.k8s.io")) wanted.add("resize");
  return wanted;
}

function remoteStreams(
  session: SpdySession,
  streams: ReadonlyMap<StreamType, SpdyStream>,
  format: StatusFormat,
  choice: StreamChoice,
  idle: IdleWatch,
): RemoteStreams {
  const abort = new AbortController();
  const errors = streams.get("error")!;
  const [stdout, stderr] = [streams.get("stdout"), streams.get("stderr")];
  const sizes = choice.tty ? new TerminalSizes() : undefined;
  streams.get("resize")?.on("data", (bytes: Buffer) => sizes?.write(bytes));
  // Nothing comes on these; what does is not kept.
  for (const stream of [errors, stdout, stderr]) stream?.resume();
  const watch = idle(
    () => session.touchedAtMs,
    () => session.destroy(new StatusError(Code.DeadlineExceeded, "the connection was idle for too long")),
  );
  void session.closed.then((reason) => {
    watch[Symbol.dispose]();
    abort.abort(reason ?? new StatusError(Code.Cancelled, "the client closed the connection"));
  });
  return {
    stdin: streams.get("stdin"),
    stdout,
    stderr,
    sizes,
    signal: abort.signal,
    async finish(outcome: Outcome) {
      const text = statusText(outcome, format);
      if (text !== "") errors.write(text);
      await Promise.all([ended(stdout), ended(stderr), ended(errors)]);
      for (const stream of streams.values()) stream.destroy();
      session.close();
      await session.closed;
    },
  };
}
