import { Code, codeName, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { createCriClient, type CriClient } from "@keelson/cri/client.ts";
import type { CallName, RequestOf, ResponseOf, StreamCallName, UnaryCallName } from "@keelson/cri/service.ts";
import { callTimeoutMs } from "./call-timeout.ts";
import { findEndpoint, probeSocket, unreachable, waitForEndpoint } from "./endpoint.ts";
import { type Io, note } from "./io.ts";
import type { Settings } from "./settings.ts";

/** What every command works with: the world, the settings and the two services of a runtime. */
export interface Session extends Disposable {
  readonly io: Io;
  readonly settings: Settings;
  readonly runtime: Service;
  readonly image: Service;
}

/** One endpoint of a runtime, reached when the first call is made. */
export interface Service {
  /**
   * Makes a call. Its errors say what the user can do; the code stays the runtime's.
   *
   * @param options.timeoutMs instead of what call-timeout.ts and --timeout say
   */
  call<N extends UnaryCallName>(name: N, request: RequestOf<N>, options?: CallOptions): Promise<ResponseOf<N>>;
  /** Makes a call that answers with a stream, until the runtime or the user ends it. Errors as of `call`. */
  stream<N extends StreamCallName>(name: N, request: RequestOf<N>): AsyncIterable<ResponseOf<N>>;
}

export interface CallOptions {
  readonly timeoutMs?: number | undefined;
  /** The flag that gives the call more time, where that is none of `pull` or `create`. */
  readonly timeoutFlag?: string;
  /** Aborts the call beside the user's interrupt. */
  readonly signal?: AbortSignal;
  /** The user's interrupt does not abort it: it undoes something, or makes what must be known to be undone. */
  readonly afterInterrupt?: boolean;
}

export function openSession(io: Io, settings: Settings): Session {
  const clients = new Map<string, CriClient>();
  let found: Promise<string> | undefined;
  const serviceAt = (endpoint: string | undefined): Service => {
    let client: Promise<CriClient> | undefined;
    const connected = async () => {
      const address = endpoint ?? (await (found ??= findEndpoint(io)));
      if (endpoint !== undefined) await waitForEndpoint(io, endpoint, settings.maxRetries);
      const open = clients.get(address) ?? createCriClient(address);
      clients.set(address, open);
      return open;
    };
    return {
      async call(name, request, options = {}) {
        const connection = await (client ??= connected());
        return callOnce(
          io,
          settings,
          { client: connection, endpoint: endpoint ?? (await found!) },
          name,
          request,
          options,
        );
      },
      async *stream(name, request) {
        const connection = await (client ??= connected());
        try {
          yield* connection.stream(name, request, io.signal);
        } catch (error) {
          throw await explain(io, error, {
            name,
            endpoint: endpoint ?? (await found!),
            timeoutMs: undefined,
            flag: "",
          });
        }
      },
    };
  };
  const runtime = serviceAt(settings.runtimeEndpoint);
  const image = settings.imageEndpoint === settings.runtimeEndpoint ? runtime : serviceAt(settings.imageEndpoint);
  return {
    io,
    settings,
    runtime,
    image,
    [Symbol.dispose]: () => {
      for (const client of clients.values()) client.close();
    },
  };
}

async function callOnce<N extends UnaryCallName>(
  io: Io,
  settings: Settings,
  target: { client: CriClient; endpoint: string },
  name: N,
  request: RequestOf<N>,
  options: CallOptions,
): Promise<ResponseOf<N>> {
  const timeoutMs = options.timeoutMs ?? callTimeoutMs(name, request, settings.timeoutMs);
  const signals = [
    ...(options.afterInterrupt === true ? [] : [io.signal]),
    ...(options.signal === undefined ? [] : [options.signal]),
  ];
  // AbortSignal.timeout takes no more than 32 bits.
  if (timeoutMs !== undefined) signals.push(AbortSignal.timeout(Math.min(timeoutMs, 2 ** 31 - 1)));
  const startedMs = performance.now();
  let code: Code = Code.Ok;
  try {
    return await target.client.call(name, request, AbortSignal.any(signals));
  } catch (error) {
    code = codeOf(error);
    const flag =
      options.timeoutFlag ??
      (options.timeoutMs === undefined ? "--timeout" : name === "pullImage" ? "--pull-timeout" : "--cancel-timeout");
    throw await explain(io, error, {
      name,
      endpoint: target.endpoint,
      timeoutMs,
      flag,
      afterInterrupt: options.afterInterrupt === true,
    });
  } finally {
    if (settings.debug)
      await note(
        io,
        `${callTitle(name)} ${target.endpoint} ${(performance.now() - startedMs).toFixed(1)} ms ${codeName(code)}`,
      );
  }
}

interface CallFacts {
  readonly name: CallName;
  readonly endpoint: string;
  readonly timeoutMs: number | undefined;
  /** The flag that gives the call more time. */
  readonly flag: string;
  readonly afterInterrupt?: boolean;
}

async function explain(
  io: Io,
  error: unknown,
  { name, endpoint, timeoutMs, flag, afterInterrupt }: CallFacts,
): Promise<unknown> {
  const code = codeOf(error);
  const message = messageOf(error);
  if (io.signal.aborted && afterInterrupt !== true) return new StatusError(Code.Cancelled, "interrupted", error);
  if (code === Code.Unavailable) {
    // The runtime itself may answer Unavailable: its own words are then the better ones.
    const reason = await probeSocket(endpoint);
    return reason === undefined ? error : new StatusError(code, unreachable(endpoint, reason), error);
  }
  if (
    code === Code.DeadlineExceeded &&
    timeoutMs !== undefined &&
    message === "the call took longer than its timeout"
  ) {
    return new StatusError(
      code,
      `${callTitle(name)} took longer than ${timeoutMs / 1000} s. It may still be under way; give it more time with ${flag}`,
      error,
    );
  }
  if (code === Code.Unimplemented)
    return new StatusError(code, `the runtime at ${endpoint} does not know ${callTitle(name)}: ${message}`, error);
  return new StatusError(
    code,
    message === "" ? `${callTitle(name)}: ${codeName(code)}` : `${message} (${codeName(code)})`,
    error,
  );
}

/** The name of a call as the CRI writes it. */
function callTitle(name: CallName): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
