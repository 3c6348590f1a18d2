import type { Duplex } from "node:stream";
import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { Channel, type ChannelOwner } from "./channel.ts";
import { ClientStream, type StreamForm } from "./client-stream.ts";
import { flagRemoteClosed, flagRemoteOpen, type Frame, maxMessageBytes, maxStreamId } from "./frame.ts";
import { InboxRoom } from "./inbox.ts";
import { maxTimerMs, OpenCall, type Receiver } from "./open-call.ts";
import { decodeResponse, encodeRequest } from "./request.ts";

export interface CallOptions {
  /** How long the call may take, in ms; the server learns it too, unless `isTimeoutOurs`. */
  readonly timeoutMs?: number | undefined;
  /** Keep the timeout from the server. */
  readonly isTimeoutOurs?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Metadata of the call, such as `{ "containerd-namespace-ttrpc": "k8s.io" }`. */
  readonly metadata?: Readonly<Record<string, string | readonly string[]>> | undefined;
}

export interface ClientOptions {
  /** How many calls may be under way; 4096. More fail with ResourceExhausted. */
  readonly maxCalls?: number;
  /** How long a stream that nobody reads may hold up the others before it fails, in ms; 5000. */
  readonly stallMs?: number;
}

interface Opening {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  /** Of the request's frame. */
  readonly flags: number;
}

/**
 * The client's end of a connection: any number of calls side by side on any duplex stream, which it owns. Everything
 * fails with a StatusError: the server's own, DeadlineExceeded and Cancelled for the caller's timeout and signal,
 * Unavailable with the reason when the connection is lost.
 *
 * ttrpc cannot cancel a call: the server does not learn that a call was given up, and its answer is ignored.
 */
export class TtrpcClient implements ChannelOwner, Disposable {
  readonly #channel: Channel;
  readonly #inboxes: InboxRoom;
  readonly #maxCalls: number;
  /** Calls that were sent, by stream; the others still wait for that. */
  readonly #calls = new Map<number, OpenCall>();
  readonly #underWay = new Set<OpenCall>();
  #nextId = 1;
  #isClosing = false;

  constructor(transport: Duplex, options: ClientOptions = {}) {
    const { maxCalls = 4096, stallMs = 5000 } = options;
    this.#maxCalls = maxCalls;
    this.#channel = new Channel(transport, this);
    this.#inboxes = new InboxRoom(() => this.#channel.hold(), stallMs);
  }

  /** Resolves when the connection is closed: with undefined when we ended it in good order, else with the reason. */
  get closed(): Promise<StatusError | undefined> {
    return this.#channel.closed;
  }

  get callsUnderWay(): number {
    return this.#underWay.size;
  }

  /** Calls a method with one request and one response, both as bytes of protobuf messages. */
  async call(service: string, method: string, request: Uint8Array, options: CallOptions = {}): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const receiver: Receiver = {
      takeResponse: ({ error, payload }) => (error === undefined ? resolve(payload as Buffer) : reject(error)),
      takeData: () => {
        throw new StatusError(Code.Internal, "the server answers with a stream");
      },
      fail: reject,
    };
    this.#open({ service, method, payload: request, flags: 0 }, options, receiver);
    return await promise;
  }

  /**
   * Opens a stream. A "serverStream" gets `request`; the others send messages by `write`. The timeout applies to the
   * stream as a whole. Throws what keeps the request from being sent.
   */
  openStream(
    service: string,
    method: string,
    form: StreamForm,
    options: CallOptions & { readonly request?: Uint8Array } = {},
  ): ClientStream {
    const stream = new ClientStream(this.#channel, this.#inboxes, form);
    const flags = form === "serverStream" ? flagRemoteClosed : flagRemoteOpen;
    const payload = options.request ?? Buffer.alloc(0);
    stream.opened(this.#open({ service, method, payload, flags }, options, stream));
    return stream;
  }

  /** Takes no more calls, and closes the connection when those under way have ended. */
  close(): void {
    this.#isClosing = true;
    this.#closeWhenDone();
  }

  /** Ends the connection at once, and its calls with this error. */
  destroy(reason: StatusError = new StatusError(Code.Cancelled, "ttrpc: the connection was closed")): void {
    this.#channel.destroy(reason);
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  /** For the channel. */
  over(reason: StatusError): void {
    for (const call of this.#underWay) call.end(wrapError(call.name, reason));
    this.#inboxes.close();
  }

  /** For the channel. */
  frame(frame: Frame): void {
    const { streamId } = frame;
    const call = this.#calls.get(streamId);
    if (frame.type === "request" || (call === undefined && !this.#isKnown(streamId))) {
      throw new StatusError(
        Code.Internal,
        `the peer sent a ${frame.type} on stream ${streamId}, which we never opened`,
      );
    }
    // It belongs to a call that was given up.
    if (call === undefined) return;
    try {
      this.#take(call, frame);
    } catch (error) {
      call.end(wrapError(call.name, error));
    }
  }

  #isKnown(streamId: number): boolean {
    return streamId % 2 === 1 && streamId < this.#nextId;
  }

  #take(call: OpenCall, frame: Frame): void {
    switch (frame.type) {
      case "response": {
        const response = decodeResponse(frame.data);
        call.end(undefined);
        call.receiver.takeResponse(response);
        return;
      }
      case "data":
        if (call.receiver.takeData(frame.flags, frame.data)) call.end(undefined);
        return;
      case "tooLong":
        throw new StatusError(
          Code.ResourceExhausted,
          `the server's message has ${frame.lengthBytes} bytes; ${maxMessageBytes} are the most`,
        );
      case "request":
    }
  }

  #open({ service, method, payload, flags }: Opening, options: CallOptions, receiver: Receiver): OpenCall {
    const name = `${service}/${method}`;
    const { timeoutMs, isTimeoutOurs = false, signal } = options;
    if (timeoutMs !== undefined && !(timeoutMs > 0))
      throw new StatusError(
        Code.DeadlineExceeded,
        `${name}: the timeout of ${timeoutMs} ms was over before the call began`,
      );
    if (signal?.aborted === true) throw wrapError(name, signal.reason);
    if (this.#channel.isOver) throw wrapError(name, this.#channel.reason);
    if (this.#isClosing) throw new StatusError(Code.Unavailable, `${name}: the connection is closing`);
    if (this.#nextId > maxStreamId)
      throw new StatusError(Code.Unavailable, `${name}: the connection has used all its stream numbers; connect again`);
    if (this.#underWay.size >= this.#maxCalls)
      throw new StatusError(
        Code.ResourceExhausted,
        `${name}: ${this.#maxCalls} calls are under way, which is the most there may be`,
      );
    const request = encodeRequest({
      service,
      method,
      payload,
      timeoutNs: isTimeoutOurs ? 0n : timeoutNs(timeoutMs),
      metadata: metadataOf(options),
    });
    if (request.length > maxMessageBytes) {
      throw new StatusError(
        Code.ResourceExhausted,
        `${name}: the request has ${request.length} bytes; ${maxMessageBytes} are the most that ttrpc can carry`,
      );
    }
    const call = new OpenCall(name, receiver, () => this.#gone(call));
    this.#underWay.add(call);
    call.limit(timeoutMs, signal);
    call.withdraw = this.#channel.turn(() => {
      call.id = this.#nextId;
      this.#nextId += 2;
      this.#calls.set(call.id, call);
      this.#channel.send("request", call.id, flags, request);
    });
    return call;
  }

  #gone(call: OpenCall): void {
    this.#underWay.delete(call);
    if (call.id !== undefined) this.#calls.delete(call.id);
    this.#closeWhenDone();
  }

  #closeWhenDone(): void {
    // In the next turn: whoever ended the last call may still have frames of it to send.
    if (this.#isClosing && this.#underWay.size === 0) setImmediate(() => this.#channel.end());
  }
}

/** Nanoseconds; int64 has room for 292 years. */
function timeoutNs(timeoutMs: number | undefined): bigint {
  if (timeoutMs === undefined || timeoutMs > maxTimerMs) return 0n;
  return BigInt(Math.ceil(timeoutMs * 1e6));
}

function metadataOf({ metadata = {} }: CallOptions): ReadonlyMap<string, readonly string[]> {
  return new Map(
    Object.entries(metadata).map(([key, values]) => [
      key.toLowerCase(),
      typeof values === "string" ? [values] : values,
    ]),
  );
}
