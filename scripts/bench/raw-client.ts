import { Client, credentials } from "@grpc/grpc-js";
import { methodOf } from "@keelson/cri/grpc-methods.ts";
import type { RequestOf, UnaryCallName } from "@keelson/cri/service.ts";

/** A connection that does not decode answers, so that only the runtime's work is measured. */
export class RawClient implements Disposable {
  readonly #client: Client;

  constructor(endpoint: string) {
    this.#client = new Client(endpoint, credentials.createInsecure(), { "grpc.max_receive_message_length": -1 });
  }

  /** Makes a call and returns the size of its answer in bytes. Rejects with grpc-js's error, which has a `code`. */
  answerBytes<N extends UnaryCallName>(name: N, request: RequestOf<N>, timeoutMs: number): Promise<number> {
    const { path, requestSerialize } = methodOf(name);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#client.makeUnaryRequest(
      path,
      requestSerialize,
      (bytes) => bytes.length,
      request,
      { deadline: Date.now() + timeoutMs },
      (error, length) => {
        if (error === null) resolve(length ?? 0);
        else reject(error);
      },
    );
    return promise;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
