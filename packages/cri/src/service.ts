import { ImageServiceDefinition, RuntimeServiceDefinition } from "./gen/runtime/v1/api.ts";

type Methods = RuntimeServiceDefinition["methods"] & ImageServiceDefinition["methods"];

/** The name of a call, in camel case: `runPodSandbox`. */
export type CallName = keyof Methods;

/** The message that a codec decodes. */
type Decoded<Codec> = Codec extends { decode(bytes: Uint8Array): infer Message } ? Message : never;

export type RequestOf<N extends CallName> = Decoded<Methods[N]["requestType"]>;
export type ResponseOf<N extends CallName> = Decoded<Methods[N]["responseType"]>;

/** The calls that answer with a stream of messages. */
export type StreamCallName = { [N in CallName]: Methods[N]["responseStream"] extends true ? N : never }[CallName];

/** The calls with one answer. */
export type UnaryCallName = Exclude<CallName, StreamCallName>;

/** The names of all 41 calls. */
export const callNames = [
  ...Object.keys(RuntimeServiceDefinition.methods),
  ...Object.keys(ImageServiceDefinition.methods),
] as CallName[];
