import type { RequestOf, ResponseOf, StreamCallName, UnaryCallName } from "./service.ts";

/** What a handler of a unary call is: the request, and a signal that aborts when the client is gone or its deadline is over. */
export type UnaryHandler<N extends UnaryCallName> = (
  request: RequestOf<N>,
  signal: AbortSignal,
) => Promise<ResponseOf<N>>;

/** What a handler of a streaming call is: `write` resolves when the client has room for more. */
export type StreamHandler<N extends StreamCallName> = (
  request: RequestOf<N>,
  write: (message: ResponseOf<N>) => Promise<void>,
  signal: AbortSignal,
) => Promise<void>;

/** Handlers by call name; a call without one answers Unimplemented with its name. */
export type Handlers = { [N in UnaryCallName]?: UnaryHandler<N> } & { [N in StreamCallName]?: StreamHandler<N> };
