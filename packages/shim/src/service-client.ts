import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { TtrpcClient } from "@keelson/ttrpc/client.ts";
import type { Codec } from "@keelson/ttrpc/service.ts";

/** A message's type, which can also fill in missing fields. */
export interface MessageType<Message> extends Codec<Message> {
  fromPartial(fields: Partial<Message>): Message;
}

export interface Method<Request, Response> {
  readonly request: MessageType<Request>;
  readonly response: Codec<Response>;
  /** How large an answer may be, in bytes: in memory a message's repeated fields take many times as much. */
  readonly maxAnswerBytes: number;
}

// oxlint-disable-next-line typescript/no-explicit-any -- whatever its two messages are
type MethodTable = Readonly<Record<string, Method<any, any>>>;

export type RequestOf<M> = M extends { readonly request: MessageType<infer Request> } ? Partial<Request> : never;
export type ResponseOf<M> = M extends { readonly response: Codec<infer Response> } ? Response : never;

export interface CallLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Calls the methods of one service on a connection to a shim. Every call has a timeout, of which the shim learns nothing.
 */
export class ServiceClient<Table extends MethodTable> {
  readonly #client: TtrpcClient;
  readonly #service: string;
  readonly #table: Table;
  readonly #metadata: Readonly<Record<string, string>>;

  constructor(client: TtrpcClient, service: string, table: Table, namespace: string) {
    this.#client = client;
    this.#service = service;
    this.#table = table;
    this.#metadata = { "containerd-namespace-ttrpc": namespace };
  }

  /**
   * Throws the shim's StatusError, DeadlineExceeded, Cancelled, Unavailable when the connection is lost, Internal for
   * an answer of another type.
   */
  async call<N extends keyof Table & string>(
    method: N,
    request: RequestOf<Table[N]>,
    limits: CallLimits,
  ): Promise<ResponseOf<Table[N]>> {
    const { request: requestType, response, maxAnswerBytes } = this.#table[method]!;
    const bytes = requestType.encode(requestType.fromPartial(request)).finish();
    // Servers written in Go cancel the context of a call with a timeout as soon as it has answered, and with it what the
    // call has begun: Kata then no longer opens the stdin of a process that it has started.
    const options = { ...limits, isTimeoutOurs: true, metadata: this.#metadata };
    const answer = await this.#client.call(this.#service, method, bytes, options);
    return decodeMessage(response, answer, maxAnswerBytes, `${this.#service}/${method}`) as ResponseOf<Table[N]>;
  }
}

/** Throws Internal for bytes that are more than that, or no message of that type. */
export function decodeMessage<Message>(
  codec: Pick<Codec<Message>, "decode">,
  bytes: Uint8Array,
  maxBytes: number,
  doing: string,
): Message {
  if (bytes.length > maxBytes)
    throw new StatusError(
      Code.Internal,
      `${doing}: the shim answers with ${bytes.length} bytes; ${maxBytes} are the most`,
    );
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw new StatusError(Code.Internal, `${doing}: the shim's answer cannot be read: ${messageOf(error)}`, error);
  }
}
