import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { Metadata } from "./request.ts";

/** What a handler knows about its call. */
export interface Call {
  readonly service: string;
  readonly method: string;
  readonly metadata: Metadata;
  /** Aborts when the caller's deadline is over (TimeoutError) or its connection is lost (AbortError). */
  readonly signal: AbortSignal;
}

/** Sends a message of a stream, and resolves when the connection has taken it. Throws the reason of the call's signal. */
export type Write<Message> = (message: Message) => Promise<void>;

/** A method with its handler, in one of the protocol's four forms; messages are bytes. An error that it throws becomes the call's status. */
export type Method =
  | { readonly form: "unary"; readonly handle: (request: Buffer, call: Call) => Promise<Uint8Array> }
  | {
      readonly form: "clientStream";
      readonly handle: (requests: AsyncIterable<Buffer>, call: Call) => Promise<Uint8Array>;
    }
  | {
      readonly form: "serverStream";
      readonly handle: (request: Buffer, write: Write<Uint8Array>, call: Call) => Promise<void>;
    }
  | {
      readonly form: "bidiStream";
      readonly handle: (requests: AsyncIterable<Buffer>, write: Write<Uint8Array>, call: Call) => Promise<void>;
    };

/** Methods by name, by the full name of their service: `{ "containerd.task.v2.Task": { State: unary(…) } }`. */
export type Services = Readonly<Record<string, Readonly<Record<string, Method>>>>;

/** A message's type, as ts-proto makes it. */
export interface Codec<Message> {
  encode(message: Message): { finish(): Uint8Array };
  decode(bytes: Uint8Array): Message;
}

export function unary<Req, Res>(
  req: Codec<Req>,
  res: Codec<Res>,
  handle: (request: Req, call: Call) => Promise<Res>,
): Method {
  return {
    form: "unary",
    handle: async (bytes, call) => res.encode(await handle(decode(req, bytes, call), call)).finish(),
  };
}

/** Many requests, one response. */
export function clientStream<Req, Res>(
  req: Codec<Req>,
  res: Codec<Res>,
  handle: (requests: AsyncIterable<Req>, call: Call) => Promise<Res>,
): Method {
  return {
    form: "clientStream",
    handle: async (messages, call) => res.encode(await handle(decodeAll(req, messages, call), call)).finish(),
  };
}

/** One request, many responses. */
export function serverStream<Req, Res>(
  req: Codec<Req>,
  res: Codec<Res>,
  handle: (request: Req, write: Write<Res>, call: Call) => Promise<void>,
): Method {
  return {
    form: "serverStream",
    handle: async (bytes, write, call) =>
      await handle(decode(req, bytes, call), (message) => write(res.encode(message).finish()), call),
  };
}

/** Many requests and responses, in any order. */
export function bidiStream<Req, Res>(
  req: Codec<Req>,
  res: Codec<Res>,
  handle: (requests: AsyncIterable<Req>, write: Write<Res>, call: Call) => Promise<void>,
): Method {
  return {
    form: "bidiStream",
    handle: async (messages, write, call) =>
      await handle(decodeAll(req, messages, call), (message) => write(res.encode(message).finish()), call),
  };
}

function decode<Message>(codec: Codec<Message>, bytes: Buffer, call: Call): Message {
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw new StatusError(
      Code.InvalidArgument,
      `${call.service}/${call.method}: the message is not of the method's type: ${messageOf(error)}`,
      error,
    );
  }
}

async function* decodeAll<Message>(
  codec: Codec<Message>,
  messages: AsyncIterable<Buffer>,
  call: Call,
): AsyncGenerator<Message, void, void> {
  for await (const bytes of messages) yield decode(codec, bytes, call);
}
