import type { Duplex } from "node:stream";
import { Code, StatusError } from "@keelson/base/status.ts";
import { SpdySession } from "@keelson/spdy/session.ts";
import type { SpdyStream } from "@keelson/spdy/stream.ts";
import type { ConnectionRules } from "./connection-rules.ts";
import { type Outcome, type StatusFormat, statusText } from "./exit-status.ts";
import { ended, type RemoteStreams, type StreamChoice } from "./remote-streams.ts";
import { TerminalSizes } from "./terminal-sizes.ts";

/** The values of `X-Stream-Protocol-Version`, the newest first. "" is the oldest protocol, which has no name. */
export const remoteCommandProtocols = [
  "v4.channel.k8s.io",
  "v3.channel.k8s.io",
  "v2.channel.k8s.io",
  "channel.k8s.io",
] as const;
export type RemoteCommandProtocol = (typeof remoteCommandProtocols)[number] | "";

type StreamType = "error" | "stdin" | "stdout" | "stderr" | "resize";

/** A client opens at most five; a few more are accepted so that the error can name them. */
const maxStreams = 16;

/**
 * Waits until a client has opened all its streams. Throws DeadlineExceeded when that takes too long, InvalidArgument
 * for streams that were not requested or come twice; the connection is closed then.
 */
export async function acceptRemoteStreams(
  transport: Duplex,
  protocol: RemoteCommandProtocol,
  choice: StreamChoice,
  rules: ConnectionRules,
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
            `the client opened a stream of type ${JSON.stringify(type)}, which was not requested or is open already`,
          ),
        );
        return;
      }
      streams.set(type, stream);
      stream.reply();
      if (streams.size === wanted.size) resolve();
    },
  });
  const onLate = () =>
    reject(
      new StatusError(
        Code.DeadlineExceeded,
        `the client has opened only ${streams.size} of ${wanted.size} streams within ${rules.creationTimeoutMs / 1000} s`,
      ),
    );
  const timer = setTimeout(onLate, rules.creationTimeoutMs);
  void session.closed.then((reason) =>
    reject(
      reason ?? new StatusError(Code.Cancelled, "the client closed the connection before all its streams were open"),
    ),
  );
  try {
    await promise;
  } catch (error) {
    session.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  const format = protocol === "v4.channel.k8s.io" ? "json" : "text";
  return remoteStreams(session, streams, { format, hasTerminal: choice.tty }, rules);
}

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
  { format, hasTerminal }: { format: StatusFormat; hasTerminal: boolean },
  { watchIdle }: ConnectionRules,
): RemoteStreams {
  const abort = new AbortController();
  const errors = streams.get("error")!;
  const [stdout, stderr] = [streams.get("stdout"), streams.get("stderr")];
  const sizes = hasTerminal ? new TerminalSizes() : undefined;
  streams.get("resize")?.on("data", (bytes: Buffer) => sizes?.write(bytes));
  // Clients send nothing on these. Whatever comes is discarded.
  for (const stream of [errors, stdout, stderr]) stream?.resume();
  const watch = watchIdle(
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
