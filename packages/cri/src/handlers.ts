import type { RequestOf, ResponseOf, StreamCallName, UnaryCallName } from "./service.ts";

/** Handles a unary call. The signal aborts when the client is gone or its deadline has passed. */
export type UnaryHandler<N extends UnaryCallName> = (
  request: RequestOf<N>,
  signal: AbortSignal,
) => Promise<ResponseOf<N>>;

/** Handles a streaming call. `write` resolves when the client has room for more. */
export type StreamHandler<N extends StreamCallName> = (
  request: RequestOf<N>,
  write: (message: ResponseOf<N>) => Promise<void>,
  signal: AbortSignal,
) => Promise<void>;

/** Handlers by call name; a call without one answers Unimplemented with its name. */
export type Handlers = { [N in UnaryCallName]?: UnaryHandler<N> } & { [N in StreamCallName]?: StreamHandler<N> };
