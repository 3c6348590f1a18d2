import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import { ImageServiceDefinition, RuntimeServiceDefinition } from "./gen/runtime/v1/api.ts";
import type { CallName, RequestOf, ResponseOf } from "./service.ts";

interface Codec {
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}

interface PlainDefinition {
  readonly fullName: string;
  readonly methods: Readonly<
    Record<
      string,
      {
        readonly name: string;
        readonly requestType: unknown;
        readonly responseType: unknown;
        readonly responseStream: boolean;
      }
    >
  >;
}

/** The CRI's services with the paths and codecs of their calls, for grpc-js. */
export const services = [RuntimeServiceDefinition, ImageServiceDefinition].map(grpcService);

const methods: ServiceDefinition = Object.assign({}, ...services) as ServiceDefinition;

/** One call's definition for grpc-js, typed. */
export function methodOf<N extends CallName>(name: N): MethodDefinition<RequestOf<N>, ResponseOf<N>> {
  return methods[name] as MethodDefinition<RequestOf<N>, ResponseOf<N>>;
}

function grpcService({ fullName, methods: plain }: PlainDefinition): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(plain).map(([key, { name, requestType, responseType, responseStream }]) => {
      const [request, response] = [requestType as Codec, responseType as Codec];
      const method: MethodDefinition<unknown, unknown> = {
        path: `/${fullName}/${name}`,
        requestStream: false,
        responseStream,
        requestSerialize: (message) => Buffer.from(request.encode(message).finish()),
        requestDeserialize: (bytes) => request.decode(bytes),
        responseSerialize: (message) => Buffer.from(response.encode(message).finish()),
        responseDeserialize: (bytes) => response.decode(bytes),
      };
      return [key, method];
    }),
  );
}
