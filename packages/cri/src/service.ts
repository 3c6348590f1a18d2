import type { MethodDefinition } from "@grpc/grpc-js";
import { ImageServiceService, RuntimeServiceService } from "./gen/runtime/v1/api.ts";

/** Every call of the CRI with its path and its codec, as grpc-js takes them. */
export const services = { RuntimeService: RuntimeServiceService, ImageService: ImageServiceService } as const;

type Methods = typeof RuntimeServiceService & typeof ImageServiceService;

/** The name of a call, in camel case: `runPodSandbox`. */
export type CallName = keyof Methods;

export type RequestOf<N extends CallName> = Methods[N] extends { requestDeserialize: (bytes: Buffer) => infer Request } ? Request : never;
export type ResponseOf<N extends CallName> = Methods[N] extends { responseDeserialize: (bytes: Buffer) => infer Response } ? Response : never;

type StreamingCallName = { [N in CallName]: Methods[N] extends { responseStream: true } ? N : never }[CallName];

/** The calls with one answer. */
export type UnaryCallName = Exclude<CallName, StreamingCallName>;

/** The calls that answer with a stream of messages. */
export type StreamCallName = StreamingCallName;

/** One call's definition for grpc-js, with its types. */
export function methodOf<N extends CallName>(name: N): MethodDefinition<RequestOf<N>, ResponseOf<N>> {
  const all: Record<string, unknown> = { ...RuntimeServiceService, ...ImageServiceService };
  return all[name] as MethodDefinition<RequestOf<N>, ResponseOf<N>>;
}

/** The names of all 41 calls. */
export const callNames = [...Object.keys(RuntimeServiceService), ...Object.keys(ImageServiceService)] as CallName[];
