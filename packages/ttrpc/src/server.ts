import type { Duplex } from "node:stream";
import { Code, StatusError, toStatus, wrapError } from "@keelson/base/status.ts";
import { Channel, type ChannelOwner } from "./channel.ts";
import { flagNoData, flagRemoteClosed, flagRemoteOpen, type Frame, maxMessageBytes } from "./frame.ts";
import { Inbox, InboxRoom } from "./inbox.ts";
import { maxTimerMs } from "./open-call.ts";
import { decodeRequest, encodeResponse, type Request } from "./request.ts";
import type { Call, Method, Services } from "./service.ts";

export interface ServerOptions {
  /** How many calls of one connection may be under way; 256. More are refused with ResourceExhausted. */
  readonly maxCalls?: number;
  /** How large the requests of all calls under way on one connection may be together; 64 MiB. More are refused likewise. */
  readonly maxRequestBytes?: number;
  /** How long a stream whose handler does not read may hold up its connection before it fails, in ms; 5000. */
  readonly stallMs?: number;
}

/** How much of an error's message is sent, in characters. */
const maxErrorLength = 16 * 1024;

/** Serves the methods of its services on any number of connections. */
export class TtrpcServer {
  readonly #services: ReadonlyMap<string, ReadonlyMap<string, Method>>;
  readonly #options: Required<ServerOptions>;
  readonly #connections = new Set<ServerConnection>();
  #isClosing = false;

  constructor(services: Services, options: ServerOptions = {}) {
    this.#services = new Map(
      Object.entries(services).map(([name, methods]) => [name, new Map(Object.entries(methods))]),
    );
    const { maxCalls = 256, maxRequestBytes = 64 * 1024 * 1024, stallMs = 5000 } = options;
    this.#options = { maxCalls, maxRequestBytes, stallMs };
  }

  /** Serves a connection, which the server owns from now on. */
  accept(transport: Duplex): ServerConnection {
    const connection = new ServerConnection(transport, this.#services, this.#options);
    this.#connections.add(connection);
    void connection.closed.then(() => this.#connections.delete(connection));
    if (this.#isClosing) connection.close();
    return connection;
  }

  /** Takes no more calls, and resolves when those under way have ended and all connections are closed. After `graceMs` it ends them by force. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const connections = [...this.#connections];
    for (const connection of connections) connection.close();
    const timer = setTimeout(() => {
      for (const connection of connections) connection.destroy();
    }, graceMs);
    await Promise.all(connections.map((connection) => connection.closed));
    clearTimeout(timer);
  }
}

interface RunningCall {
  readonly id: number;
  readonly name: string;
  readonly method: Method;
  readonly abort: AbortController;
  readonly inbox: Inbox;
  readonly requestBytes: number;
  timer: NodeJS.Timeout | undefined;
  /** Whether the peer has said that it sends nothing more. */
  isRemoteEnded: boolean;
}

/** One client's connection: its calls run side by side. */
export class ServerConnection implements ChannelOwner {
  readonly #services: ReadonlyMap<string, ReadonlyMap<string, Method>>;
  readonly #options: Required<ServerOptions>;
  readonly #channel: Channel;
  readonly #inboxes: InboxRoom;
  /** Calls whose answer the peer waits for, by stream. */
  readonly #calls = new Map<number, RunningCall>();
  #lastId = 0;
  /** How many handlers run, including those that nobody waits for any more. */
  #running = 0;
  #requestBytes = 0;
  #isClosing = false;
  #isHeld = false;

  constructor(
    transport: Duplex,
    services: ReadonlyMap<string, ReadonlyMap<string, Method>>,
    options: Required<ServerOptions>,
  ) {
    this.#services = services;
    this.#options = options;
    this.#channel = new Channel(transport, this);
    this.#inboxes = new InboxRoom(() => this.#channel.hold(), options.stallMs);
  }

  /** Resolves when the connection is closed: with undefined when we ended it in good order, else with the reason. */
  get closed(): Promise<StatusError | undefined> {
    return this.#channel.closed;
  }

  /** How many handlers run. */
  get callsUnderWay(): number {
    return this.#running;
  }

  /** Takes no more calls, and closes when those under way have ended. */
  close(): void {
    this.#isClosing = true;
    if (this.#running === 0) this.#channel.end();
  }

  /** Ends the connection at once; the signals of its calls abort. */
  destroy(): void {
    this.#channel.destroy(new StatusError(Code.Cancelled, "ttrpc: the server was closed"));
  }

  /** For the channel. */
  over(reason: StatusError): void {
    this.#inboxes.close();
    for (const call of this.#calls.values()) {
      clearTimeout(call.timer);
      call.abort.abort(new DOMException(reason.message, "AbortError"));
      call.inbox.drop(reason);
    }
    this.#calls.clear();
  }

  /** For the channel. */
  frame(frame: Frame): void {
    switch (frame.type) {
      case "request":
        this.#takeRequest(frame.streamId, frame.flags, frame.data);
        break;
      case "data":
        this.#takeData(frame.streamId, frame.flags, frame.data);
        break;
      case "tooLong":
        if (frame.streamId % 2 === 1) this.#lastId = Math.max(this.#lastId, frame.streamId);
        this.#refuse(
          frame.streamId,
          new StatusError(
            Code.ResourceExhausted,
            `ttrpc: a message of ${frame.lengthBytes} bytes; ${maxMessageBytes} are the most`,
          ),
        );
        break;
      case "response":
        throw new StatusError(Code.Internal, `the peer sent a response (stream ${frame.streamId}) to a server`);
    }
    this.#readNoMoreThanIsAnswered();
  }

  #takeRequest(id: number, flags: number, data: Buffer): void {
    try {
      if (id % 2 === 0)
        throw new StatusError(Code.InvalidArgument, `ttrpc: a client's streams have odd numbers, not ${id}`);
      if (id <= this.#lastId)
        throw new StatusError(
          Code.InvalidArgument,
          `ttrpc: stream ${id} after stream ${this.#lastId}; numbers have to rise`,
        );
      this.#lastId = id;
      this.#start(id, flags, data);
    } catch (error) {
      this.#refuse(id, error);
    }
  }

  #start(id: number, flags: number, data: Buffer): void {
    const request = decodeRequest(data);
    const name = `${request.service}/${request.method}`;
    const method = this.#methodOf(request);
    if (this.#isClosing) throw new StatusError(Code.Unavailable, `${name}: the server is closing`);
    const { maxCalls, maxRequestBytes } = this.#options;
    if (this.#running >= maxCalls)
      throw new StatusError(
        Code.ResourceExhausted,
        `${name}: ${maxCalls} calls are under way on this connection, which is the most there may be`,
      );
    if (this.#requestBytes + data.length > maxRequestBytes) {
      throw new StatusError(
        Code.ResourceExhausted,
        `${name}: the requests under way on this connection would be more than ${maxRequestBytes} bytes`,
      );
    }
    const takesData = method.form === "clientStream" || method.form === "bidiStream";
    const isOpen = flags === flagRemoteOpen;
    if (!isOpen && flags !== 0 && flags !== flagRemoteClosed)
      throw new StatusError(Code.InvalidArgument, `${name}: a request with the flags ${flags}`);
    if (isOpen && !takesData)
      throw new StatusError(Code.InvalidArgument, `${name}: the method takes one request, not a stream of them`);
    const call: RunningCall = {
      id,
      name,
      method,
      abort: new AbortController(),
      inbox: new Inbox(this.#inboxes, (error) => {
        if (error !== undefined && this.#calls.get(id) === call) this.#fail(call, wrapError(name, error));
      }),
      requestBytes: data.length,
      timer: undefined,
      isRemoteEnded: !isOpen,
    };
    this.#calls.set(id, call);
    this.#running += 1;
    this.#requestBytes += data.length;
    this.#setDeadline(call, request.timeoutNs);
    // A stream's first message may come with the request; an empty payload is no message.
    if (takesData && (request.payload.length > 0 || flags === 0)) call.inbox.push(request.payload as Buffer);
    if (!isOpen) call.inbox.end();
    void this.#run(call, request);
  }

  #methodOf({ service, method }: Request): Method {
    const methods = this.#services.get(service);
    if (methods === undefined) throw new StatusError(Code.Unimplemented, `service ${service} is not served here`);
    const found = methods.get(method);
    if (found === undefined) throw new StatusError(Code.Unimplemented, `service ${service} has no method ${method}`);
    return found;
  }

  #setDeadline(call: RunningCall, timeoutNs: bigint): void {
    if (timeoutNs === 0n) return;
    const timeoutMs = Number(timeoutNs) / 1e6;
    if (timeoutMs > maxTimerMs) return;
    call.timer = setTimeout(() => {
      call.abort.abort(new DOMException(`${call.name}: the caller's deadline is over`, "TimeoutError"));
      call.inbox.drop(new StatusError(Code.DeadlineExceeded, `${call.name}: the caller's deadline is over`));
    }, timeoutMs);
  }

  async #run(call: RunningCall, request: Request): Promise<void> {
    let last: Buffer | undefined;
    try {
      last = await this.#handle(call, request);
    } catch (error) {
      last = errorResponse(error);
    }
    clearTimeout(call.timer);
    call.inbox.drop();
    this.#channel.turn(() => {
      if (this.#calls.get(call.id) === call) {
        this.#calls.delete(call.id);
        if (last === undefined) this.#channel.send("data", call.id, flagRemoteClosed | flagNoData, Buffer.alloc(0));
        else this.#channel.send("response", call.id, 0, last);
      }
      this.#running -= 1;
      this.#requestBytes -= call.requestBytes;
      if (this.#isClosing && this.#running === 0) this.#channel.end();
    });
  }

  /** The call's response; undefined for a stream that ended without an error. */
  async #handle(running: RunningCall, request: Request): Promise<Buffer | undefined> {
    const { method, inbox } = running;
    const call: Call = {
      service: request.service,
      method: request.method,
      metadata: request.metadata,
      signal: running.abort.signal,
    };
    const write = (message: Uint8Array) => this.#write(running, message);
    switch (method.form) {
      case "unary":
        return response(running, await method.handle(request.payload as Buffer, call));
      case "clientStream":
        return response(running, await method.handle(inbox, call));
      case "serverStream":
        await method.handle(request.payload as Buffer, write, call);
        return undefined;
      case "bidiStream":
        await method.handle(inbox, write, call);
        return undefined;
    }
  }

  async #write(call: RunningCall, message: Uint8Array): Promise<void> {
    checkLength(call.name, message);
    const send = () => {
      if (this.#calls.get(call.id) === call) this.#channel.send("data", call.id, 0, message);
    };
    await this.#channel.sendInTurn(send, call.abort.signal);
  }

  #takeData(id: number, flags: number, data: Buffer): void {
    const call = this.#calls.get(id);
    if (call === undefined) {
      // It was on its way when the call ended; the peer will find our answer.
      if (id % 2 === 1 && id <= this.#lastId) return;
      this.#refuse(id, new StatusError(Code.InvalidArgument, `ttrpc: data for stream ${id}, which was never opened`));
      return;
    }
    const hasData = (flags & flagNoData) === 0;
    if ((flags & ~(flagRemoteClosed | flagNoData)) !== 0 || (!hasData && data.length > 0)) {
      this.#fail(
        call,
        new StatusError(Code.InvalidArgument, `${call.name}: ${data.length} bytes of data with the flags ${flags}`),
      );
    } else if (call.isRemoteEnded) {
      this.#fail(call, new StatusError(Code.InvalidArgument, `${call.name}: data after the end of the stream`));
    } else {
      if (hasData) call.inbox.push(data);
      if ((flags & flagRemoteClosed) === 0) return;
      call.isRemoteEnded = true;
      call.inbox.end();
    }
  }

  /** Refuses a frame that belongs to no call, or to one that it breaks. */
  #refuse(id: number, error: unknown): void {
    const call = this.#calls.get(id);
    if (call === undefined) this.#channel.send("response", id, 0, errorResponse(error));
    else this.#fail(call, error);
  }

  /** Ends a call whose handler still runs. */
  #fail(call: RunningCall, error: unknown): void {
    this.#calls.delete(call.id);
    clearTimeout(call.timer);
    const { code, message } = toStatus(error);
    call.abort.abort(new StatusError(code, message));
    call.inbox.drop(new StatusError(code, message));
    this.#channel.send("response", call.id, 0, errorResponse(error));
  }

  /** Does not read from a peer that does not read its answers: so what it can make us keep stays bounded. */
  #readNoMoreThanIsAnswered(): void {
    if (this.#isHeld || !this.#channel.isFull) return;
    this.#isHeld = true;
    const release = this.#channel.hold();
    this.#channel.turn(() => {
      this.#isHeld = false;
      release();
    });
  }
}

function response(call: RunningCall, payload: Uint8Array): Buffer {
  const bytes = encodeResponse({ payload });
  checkLength(call.name, bytes);
  return bytes;
}

function checkLength(name: string, message: Uint8Array): void {
  if (message.length > maxMessageBytes) {
    throw new StatusError(
      Code.ResourceExhausted,
      `${name}: the answer has ${message.length} bytes; ${maxMessageBytes} are the most that ttrpc can carry`,
    );
  }
}

function errorResponse(error: unknown): Buffer {
  const { code, message } = toStatus(error);
  // With OK the error would look like a success.
  return encodeResponse({
    code: code === Code.Ok ? Code.Unknown : code,
    message: message.length > maxErrorLength ? `${message.slice(0, maxErrorLength)}…` : message,
  });
}
