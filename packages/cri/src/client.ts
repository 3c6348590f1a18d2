import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { Code, StatusError } from "@keelson/base/status.ts";
import { methodOf } from "./grpc-methods.ts";
import type { RequestOf, ResponseOf, StreamCallName, UnaryCallName } from "./service.ts";

/** A connection to a CRI runtime. Each call takes a plain request and rejects with a StatusError. */
export interface CriClient {
  /**
   * Makes a call with one answer. The signal aborts it: the error is then DeadlineExceeded when the reason is a
   * TimeoutError (AbortSignal.timeout), else Cancelled, and its cause is the signal's reason.
   */
  call<N extends UnaryCallName>(name: N, request: RequestOf<N>, signal: AbortSignal): Promise<ResponseOf<N>>;
  /** Makes a call that answers with a stream; ending the iteration cancels it. */
  stream<N extends StreamCallName>(name: N, request: RequestOf<N>, signal: AbortSignal): AsyncIterable<ResponseOf<N>>;
  close(): void;
}

/** Connects, when first needed, to an endpoint such as `unix:///run/keelson/keelson.sock`. */
export function createCriClient(endpoint: string): CriClient {
  const client = new Client(endpoint, credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
  });
  return {
    call: (name, request, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(abortError(signal));
          return;
        }
        const method = methodOf(name);
        const call = client.makeUnaryRequest(
          method.path,
          method.requestSerialize,
          method.responseDeserialize,
          request,
          (error, response) => {
            signal.removeEventListener("abort", cancel);
            if (error !== null) reject(signal.aborted ? abortError(signal) : fromServiceError(error));
            else resolve(response!);
          },
        );
        const cancel = () => call.cancel();
        signal.addEventListener("abort", cancel, { once: true });
      }),
    async *stream(name, request, signal) {
      const method = methodOf(name);
      const call = client.makeServerStreamRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
      );
      const cancel = () => call.cancel();
      signal.addEventListener("abort", cancel, { once: true });
      try {
        yield* call as AsyncIterable<never>;
      } catch (error) {
        throw signal.aborted ? abortError(signal) : fromServiceError(error as ServiceError);
      } finally {
        signal.removeEventListener("abort", cancel);
        call.cancel();
      }
    },
    close: () => client.close(),
  };
}

function fromServiceError(error: ServiceError): StatusError {
  return new StatusError(error.code, error.details, error);
}

function abortError(signal: AbortSignal): StatusError {
  const isTimeout = signal.reason instanceof Error && signal.reason.name === "TimeoutError";
  return new StatusError(
    isTimeout ? Code.DeadlineExceeded : Code.Cancelled,
    isTimeout ? "the call took longer than its timeout" : "the call was cancelled",
    signal.reason,
  );
}
