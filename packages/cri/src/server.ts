import type { EventEmitter } from "node:events";
import {
  Metadata,
  Server,
  ServerCredentials,
  status,
  type sendUnaryData,
  type ServiceDefinition,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Code, StatusError, toStatus } from "@keelson/base/status.ts";
import { listSerializerOf } from "./encode-once.ts";
import { serializeExecSync } from "./exec-sync-answer.ts";
import { services } from "./grpc-methods.ts";
import type { Handlers } from "./handlers.ts";
import { recordTraceContext } from "./trace-context.ts";

/** Observes each call, for logs and metrics. */
export interface CallObserver {
  started?(): void;
  /** `durationMs` is wall time, `error` what the handler threw, if it did. */
  ended(call: { name: string; request: unknown; code: number; durationMs: number; error: unknown }): void;
}

export interface CriServer {
  /** Listens on `unix:///path`, and resolves when the socket accepts calls. */
  listen(address: string): Promise<void>;
  /** Accepts no new calls, and resolves when the running ones have ended; after `graceMs` it drops them. */
  close(graceMs: number): Promise<void>;
}

/** The largest request that is read, in bytes; kubelets send no more than 16 MiB. */
const maxRequestBytes = 16 * 1024 * 1024;

/** How many calls may be under way; a kubelet has a few for each pod that it works on. */
const maxCalls = 4096;

/** The limit of calls was reached, and this one was not started. */
export class TooManyCalls extends StatusError {
  constructor(limit: number) {
    super(Code.ResourceExhausted, `${limit} calls are under way, which is the limit; try again later`);
  }
}

/** An error's text travels in an HTTP/2 header; clients accept about 8 KiB of headers in all. */
const maxDetails = 4000;

/**
 * Serves the CRI with the given handlers. Errors become a gRPC status by toStatus, here and nowhere else. Calls over
 * the limit answer ResourceExhausted.
 */
export function createCriServer(handlers: Handlers, observer: CallObserver, limit = maxCalls): CriServer {
  const server = new Server({ "grpc.max_receive_message_length": maxRequestBytes, "grpc.max_send_message_length": -1 });
  const calls = new CallsUnderWay(observer, limit);
  for (const methods of services) {
    const implementation: UntypedServiceImplementation = {};
    for (const [name, method] of Object.entries(methods)) {
      const handler = (handlers as Record<string, AnyHandler | undefined>)[name] ?? unimplemented(name);
      implementation[name] = method.responseStream ? streaming(name, handler, calls) : unary(name, handler, calls);
    }
    server.addService(withListSerializers(methods), implementation);
  }
  return {
    listen: (address) =>
      new Promise((resolve, reject) => {
        server.bindAsync(address, ServerCredentials.createInsecure(), (error) =>
          error === null ? resolve() : reject(error),
        );
      }),
    close: (graceMs) => closeServer(server, graceMs),
  };
}

/** The same calls, but lists that clients poll are encoded by encode-once.ts, and large answers were encoded before. */
function withListSerializers(methods: ServiceDefinition): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => {
      const responseSerialize = name === "execSync" ? serializeExecSync : listSerializerOf(name);
      return [name, responseSerialize === undefined ? method : { ...method, responseSerialize }];
    }),
  );
}

type AnyHandler = (...args: unknown[]) => Promise<unknown>;

function unimplemented(name: string): AnyHandler {
  const call = name.charAt(0).toUpperCase() + name.slice(1);
  return () =>
    Promise.reject(new StatusError(Code.Unimplemented, `${call} is not implemented in this version of keelsond`));
}

function unary(name: string, handler: AnyHandler, calls: CallsUnderWay): UntypedHandleCall {
  return (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => {
    const observed = calls.observe(name, call);
    if (observed.refusal !== undefined) return callback(observed.ended(observed.refusal));
    handler(call.request, observed.signal).then(
      (response) => {
        observed.ended(undefined);
        // After the callback, which encodes it: of a client that is gone nothing is encoded.
        callback(null, response);
        observed.onceClosed(() => (response as Partial<Disposable>)[Symbol.dispose]?.());
      },
      (error: unknown) => callback(observed.ended(error)),
    );
  };
}

function streaming(name: string, handler: AnyHandler, calls: CallsUnderWay): UntypedHandleCall {
  return (call: ServerWritableStream<unknown, unknown>) => {
    const observed = calls.observe(name, call);
    if (observed.refusal !== undefined) return void call.emit("error", observed.ended(observed.refusal));
    const write = (message: unknown): Promise<void> => {
      observed.signal.throwIfAborted();
      if (call.write(message)) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const done = () => {
          observed.signal.removeEventListener("abort", gone);
          resolve();
        };
        const gone = () => {
          call.removeListener("drain", done);
          reject(observed.signal.reason as Error);
        };
        call.once("drain", done);
        observed.signal.addEventListener("abort", gone, { once: true });
      });
    };
    handler(call.request, write, observed.signal).then(
      () => {
        observed.ended(undefined);
        call.end();
      },
      (error: unknown) => call.emit("error", observed.ended(error)),
    );
  };
}

class CallsUnderWay {
  readonly #observer: CallObserver;
  readonly #limit: number;
  #count = 0;

  constructor(observer: CallObserver, limit: number) {
    this.#observer = observer;
    this.#limit = limit;
  }

  /** Follows one call: its signal, the error if it must be refused, and the status that it ends with. */
  observe(name: string, call: ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>) {
    const abort = new AbortController();
    const startedMs = performance.now();
    const refusal = this.#count >= this.#limit ? new TooManyCalls(this.#limit) : undefined;
    this.#count += 1;
    this.#observer.started?.();
    // grpc-js has it in wall-clock time, but the clock may be set while the call runs.
    const deadlineMs = startedMs + Number(call.getDeadline()) - Date.now();
    const [context] = call.metadata.get("traceparent");
    recordTraceContext(abort.signal, context);
    let isEnded = false;
    let isClosed = false;
    let onceClosed = () => {};
    // grpc-js emits this for each call whose stream has closed, even an answered one. Making the error is not free.
    (call as EventEmitter).on("cancelled", () => {
      if (!isEnded) abort.abort(cancellation(deadlineMs));
      isClosed = true;
      onceClosed();
    });
    return {
      signal: abort.signal,
      refusal,
      /** Calls back when the answer is sent or the client is gone. */
      onceClosed: (callback: () => void) => (isClosed ? callback() : void (onceClosed = callback)),
      ended: (error: unknown) => {
        isEnded = true;
        this.#count -= 1;
        const { code, message } = error === undefined ? { code: status.OK, message: "" } : toStatus(error);
        this.#observer.ended({ name, request: call.request, code, durationMs: performance.now() - startedMs, error });
        const details = message.length > maxDetails ? `${message.slice(0, maxDetails)}…` : message;
        return { code, details, metadata: new Metadata(), message: details, name: "StatusError" };
      },
    };
  }
}

/** A client counts from when it sends a request, the server from when it has read it, which a busy machine delays. */
const deadlineLeadMs = 50;

/** grpc-js emits "cancelled" for a deadline too, when the client, whose deadline passes first, ends the call. */
function cancellation(deadlineMs: number): DOMException {
  const isLate = deadlineMs <= performance.now() + deadlineLeadMs;
  return isLate
    ? new DOMException("the client's deadline has passed", "TimeoutError")
    : new DOMException("the client went away", "AbortError");
}

function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      // grpc-js would still wait for a client that keeps its connection open without reading, such as a stopped
      // process.
      resolve();
    }, graceMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
