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

/** One endpoint of a runtime, connected by the first call. */
export interface Service {
  /**
   * Makes a call. Its errors say what the user can do, and keep the runtime's code.
   *
   * @param options.timeoutMs overrides call-timeout.ts and --timeout
   */
  call<N extends UnaryCallName>(name: N, request: RequestOf<N>, options?: CallOptions): Promise<ResponseOf<N>>;
  /** Makes a call that answers with a stream, until the runtime or the user ends it. Errors as for `call`. */
  stream<N extends StreamCallName>(name: N, request: RequestOf<N>): AsyncIterable<ResponseOf<N>>;
}

export interface CallOptions {
  readonly timeoutMs?: number | undefined;
  /** The flag that gives the call more time, when it is not the one that `pull` or `create` has. */
  readonly timeoutFlag?: string;
  /** Aborts the call, in addition to the user's interrupt. */
  readonly signal?: AbortSignal;
  /**
   * The user's interrupt does not abort it: it undoes something, or makes something that must be known to be undone.
   */
  readonly afterInterrupt?: boolean;
}

/** A connected endpoint. */
interface Target {
  readonly io: Io;
  readonly settings: Settings;
  readonly client: CriClient;
  readonly endpoint: string;
}

export function openSession(io: Io, settings: Settings): Session {
  const clients = new Map<string, CriClient>();
  let found: Promise<string> | undefined;
  const serviceAt = (named: string | undefined): Service => {
    let target: Promise<Target> | undefined;
    const connect = async (): Promise<Target> => {
      if (named !== undefined) await waitForEndpoint(io, named, settings.maxRetries);
      const endpoint = named ?? (await (found ??= findEndpoint(io)));
      const client = clients.get(endpoint) ?? createCriClient(endpoint);
      clients.set(endpoint, client);
      return { io, settings, client, endpoint };
    };
    return {
      call: async (name, request, options = {}) => makeCall(await (target ??= connect()), name, request, options),
      stream: async function* (name, request) {
        yield* makeStream(await (target ??= connect()), name, request);
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

async function makeCall<N extends UnaryCallName>(
  target: Target,
  name: N,
  request: RequestOf<N>,
  options: CallOptions,
): Promise<ResponseOf<N>> {
  const { io, settings, client, endpoint } = target;
  const ms = options.timeoutMs ?? callTimeoutMs(name, request, settings.timeoutMs);
  const limit = ms === undefined ? undefined : { ms, flag: timeoutFlag(name, options), signal: timeoutSignal(ms) };
  const isInterruptible = options.afterInterrupt !== true;
  const signals = [isInterruptible ? io.signal : undefined, options.signal, limit?.signal];
  const startedMs = performance.now();
  let code: Code = Code.Ok;
  try {
    return await client.call(name, request, AbortSignal.any(signals.filter((signal) => signal !== undefined)));
  } catch (error) {
    code = codeOf(error);
    if (isInterruptible && io.signal.aborted) throw interrupted(error);
    throw await explain(target, name, error, limit);
  } finally {
    if (settings.debug) {
      const elapsedMs = performance.now() - startedMs;
      await note(io, `${callTitle(name)} ${endpoint} ${elapsedMs.toFixed(1)} ms ${codeName(code)}`);
    }
  }
}

async function* makeStream<N extends StreamCallName>(
  target: Target,
  name: N,
  request: RequestOf<N>,
): AsyncIterable<ResponseOf<N>> {
  const { io, client } = target;
  try {
    yield* client.stream(name, request, io.signal);
  } catch (error) {
    throw io.signal.aborted ? interrupted(error) : await explain(target, name, error);
  }
}

function timeoutFlag(name: UnaryCallName, { timeoutMs, timeoutFlag }: CallOptions): string {
  if (timeoutFlag !== undefined) return timeoutFlag;
  if (timeoutMs === undefined) return "--timeout";
  return name === "pullImage" ? "--pull-timeout" : "--cancel-timeout";
}

/** AbortSignal.timeout takes no more than 32 bits. */
function timeoutSignal(ms: number): AbortSignal {
  return AbortSignal.timeout(Math.min(ms, 2 ** 31 - 1));
}

/** How long a call may take on our side, and the flag that gives it more time. */
interface Limit {
  readonly ms: number;
  readonly flag: string;
  readonly signal: AbortSignal;
}

function interrupted(error: unknown): StatusError {
  return new StatusError(Code.Cancelled, "interrupted", error);
}

/** A call's error in words for the user. The code stays the same. */
async function explain(target: Target, name: CallName, error: unknown, limit?: Limit): Promise<unknown> {
  const { endpoint } = target;
  const code = codeOf(error);
  const message = messageOf(error);
  if (code === Code.Unavailable) {
    // The runtime itself may answer Unavailable: its own message is better then.
    const reason = await probeSocket(endpoint);
    return reason === undefined ? error : new StatusError(code, unreachable(endpoint, reason), error);
  }
  // Our own limit, and not a DeadlineExceeded that the runtime answered.
  if (limit?.signal.aborted === true && error instanceof Error && error.cause === limit.signal.reason) {
    return new StatusError(
      code,
      `${callTitle(name)} took longer than ${limit.ms / 1000} s. It may still be in progress; give it more time with ${limit.flag}`,
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
