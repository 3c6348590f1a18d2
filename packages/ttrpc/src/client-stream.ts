import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import type { Channel } from "./channel.ts";
import { flagNoData, flagRemoteClosed, maxMessageBytes } from "./frame.ts";
import { Inbox, type InboxRoom } from "./inbox.ts";
import type { OpenCall, Receiver } from "./open-call.ts";
import type { Response } from "./request.ts";

/** Which side sends many messages: the client, the server, or both. */
export type StreamForm = "clientStream" | "serverStream" | "bidiStream";

/**
 * The client's end of a stream. The client sends with `write` and `end`, and iterates, once, over what the server sends,
 * which ends with the server's status. Leaving the loop early, or `using`, gives up the stream. All that ttrpc can tell the
 * server then is that we send nothing more; what it still sends is discarded.
 */
export class ClientStream implements Receiver, AsyncIterable<Buffer>, Disposable {
  readonly form: StreamForm;
  readonly #channel: Channel;
  readonly #inbox: Inbox;
  /** Aborts when the stream is over, with what ended it. */
  readonly #over = new AbortController();
  #call: OpenCall | undefined;
  #isEnded: boolean;

  constructor(channel: Channel, inboxes: InboxRoom, form: StreamForm) {
    this.form = form;
    this.#channel = channel;
    this.#inbox = new Inbox(inboxes, (error) => this.#giveUp(error));
    this.#isEnded = form === "serverStream";
  }

  /** For the client. */
  opened(call: OpenCall): void {
    this.#call = call;
  }

  /**
   * Sends a message, and resolves when the connection has taken it. Throws FailedPrecondition after `end` and when the
   * server has ended the stream, otherwise the error that the stream failed with.
   */
  async write(message: Uint8Array): Promise<void> {
    if (this.#isEnded)
      throw new StatusError(Code.FailedPrecondition, `${this.#name}: nothing can be sent after the end`);
    if (message.length > maxMessageBytes) {
      throw new StatusError(
        Code.ResourceExhausted,
        `${this.#name}: a message of ${message.length} bytes; ${maxMessageBytes} are the most that ttrpc can carry`,
      );
    }
    await this.#channel.sendInTurn(() => this.#send(0, message), this.#over.signal);
  }

  /** Says that we send nothing more. The server may go on. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#channel.turn(() => this.#send(flagRemoteClosed | flagNoData, Buffer.alloc(0)));
  }

  /** The one response of a "clientStream". Throws the server's status, and Internal when there is no response. */
  async response(): Promise<Buffer> {
    const { value } = await this.#inbox.next();
    if (value === undefined)
      throw new StatusError(Code.Internal, `${this.#name}: the server ended the stream without a response`);
    return value;
  }

  [Symbol.asyncIterator](): AsyncIterator<Buffer, undefined> {
    return this.#inbox;
  }

  [Symbol.dispose](): void {
    this.#giveUp();
    this.#inbox.drop();
  }

  /** For the client. */
  takeResponse(response: Response): void {
    const { error, payload } = response;
    // The last message of a stream may come as its response; an empty response is only the end.
    if (error === undefined && (this.form === "clientStream" || payload.length > 0))
      this.#inbox.push(payload as Buffer);
    this.#finish(error);
  }

  /** For the client. */
  takeData(flags: number, data: Buffer): boolean {
    const isLast = (flags & flagRemoteClosed) !== 0;
    const hasData = (flags & flagNoData) === 0;
    if (this.form === "clientStream")
      throw new StatusError(Code.Internal, "the server sends a stream where one response belongs");
    if ((flags & ~(flagRemoteClosed | flagNoData)) !== 0 || (!hasData && data.length > 0)) {
      throw new StatusError(Code.Internal, `the server sent ${data.length} bytes of data with the flags ${flags}`);
    }
    if (hasData) this.#inbox.push(data);
    if (isLast) this.#finish(undefined);
    return isLast;
  }

  /** For the client. */
  fail(error: StatusError): void {
    if (!this.#isEnded) this.#send(flagRemoteClosed | flagNoData, Buffer.alloc(0));
    this.#finish(error);
  }

  get #name(): string {
    return this.#call?.name ?? "ttrpc";
  }

  #giveUp(error = new StatusError(Code.Cancelled, "the stream was closed")): void {
    this.#call?.end(wrapError(this.#name, error));
  }

  #send(flags: number, data: Uint8Array): void {
    const id = this.#call?.id;
    if (id !== undefined && !this.#over.signal.aborted) this.#channel.send("data", id, flags, data);
  }

  #finish(error: StatusError | undefined): void {
    this.#inbox.end(error);
    this.#over.abort(
      error ?? new StatusError(Code.FailedPrecondition, `${this.#name}: the server has ended the stream`),
    );
  }
}
