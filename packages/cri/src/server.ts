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
import { services } from "./grpc-methods.ts";
import type { Handlers } from "./handlers.ts";
import { noteTraceContext } from "./trace-context.ts";

/** Told of each call, for logs and metrics. */
export interface CallObserver {
  started?(): void;
  /** @param durationMs wall time; `error` is what the handler threw, if it did. */
  ended(call: { name: string; request: unknown; code: number; durationMs: number; error: unknown }): void;
}

export interface CriServer {
  /** Listens on `unix:///path` and resolves when the socket takes calls. */
  listen(address: string): Promise<void>;
  /** Takes no new calls and resolves when the running ones have ended, or after `graceMs` drops them. */
  close(graceMs: number): Promise<void>;
}

/** The largest request that is read, in bytes; kubelets send no more than 16 MiB. */
const maxRequestBytes = 16 * 1024 * 1024;

/** How many calls may be under way; a kubelet has some for each pod that it works at. */
const maxCalls = 4096;

/** There were as many calls under way as there may be: nothing was begun. */
export class TooManyCalls extends StatusError {
  constructor(limit: number) {
    super(Code.ResourceExhausted, `${limit} calls are under way, which is the most there may be; try again later`);
  }
}

/** An error's text travels in an HTTP/2 header, of which clients take some 8 KiB in all. */
const maxDetails = 4000;

/**
 * Serves the CRI with the given handlers. Errors become a gRPC status by toStatus, here and nowhere
 * else. Calls over the limit answer ResourceExhausted.
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

/** The same calls; lists that are asked for often are encoded item by item, each once. */
function withListSerializers(methods: ServiceDefinition): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => {
      const responseSerialize = listSerializerOf(name);
      return [name, responseSerialize === undefined ? method : { ...method, responseSerialize }];
    }),
  );
}

type AnyHandler = (...args: unknown[]) => Promise<unknown>;

function unimplemented(name: string): AnyHandler {
  const call = name.charAt(0).toUpperCase() + name.slice(1);
  return () =>
    Promise.reject(new StatusError(Code.Unimplemented, `${call} is not there yet in this version of keelsond`));
}

function unary(name: string, handler: AnyHandler, calls: CallsUnderWay): UntypedHandleCall {
  return (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => {
    const observed = calls.observe(name, call);
    if (observed.refusal !== undefined) return callback(observed.ended(observed.refusal));
    handler(call.request, observed.signal).then(
      (response) => {
        observed.ended(undefined);
        callback(null, response);
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

  /** Follows one call: its signal, why it is not to be served if it is not, and the status that it ends with. */
  observe(name: string, call: ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>) {
    const abort = new AbortController();
    const startedMs = performance.now();
    const refusal = this.#count >= this.#limit ? new TooManyCalls(this.#limit) : undefined;
    this.#count += 1;
    this.#observer.started?.();
    // grpc-js keeps it by the clock of the machine, which may be set while the call runs.
    const deadlineMs = startedMs + Number(call.getDeadline()) - Date.now();
    const [context] = call.metadata.get("traceparent");
    noteTraceContext(abort.signal, context);
    let isEnded = false;
    // grpc-js says so of each call whose stream has closed, also of one that was answered; the error is not for free.
    (call as EventEmitter).on("cancelled", () => {
      if (!isEnded) abort.abort(cancellation(deadlineMs));
    });
    return {
      signal: abort.signal,
      refusal,
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

/** grpc-js says "cancelled" for a deadline too. */
function cancellation(deadlineMs: number): DOMException {
  const isLate = deadlineMs <= performance.now() + 1;
  return isLate
    ? new DOMException("the client's deadline is over", "TimeoutError")
    : new DOMException("the client went away", "AbortError");
}

function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      // grpc-js would still wait for a client that holds a connection and does not read, such as a stopped one.
      resolve();
    }, graceMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
