import { Code, StatusError } from "@keelson/base/status.ts";

/** How much of one stream may be unread before its connection is held up. */
const maxMessages = 64;
const maxBytes = 1024 * 1024;

/** The same for all streams of a connection, in bytes. */
const maxTotalBytes = 16 * 1024 * 1024;

/** The messages of a stream that have arrived and were not read yet. Each is read once, in order. */
export class Inbox implements AsyncIterableIterator<Buffer, undefined> {
  readonly #room: InboxRoom;
  readonly #messages: Buffer[] = [];
  readonly #readers: {
    resolve: (result: IteratorResult<Buffer, undefined>) => void;
    reject: (error: Error) => void;
  }[] = [];
  readonly #givenUp: (error?: StatusError) => void;
  #heldBytes = 0;
  #end: { readonly error: StatusError | undefined } | undefined;

  /** @param givenUp called when the reader leaves before the end, as by `break`; with an error when it held up the connection for too long. */
  constructor(room: InboxRoom, givenUp: (error?: StatusError) => void) {
    this.#room = room;
    this.#givenUp = givenUp;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  get isFull(): boolean {
    return this.#messages.length >= maxMessages || this.#heldBytes >= maxBytes;
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Has no effect after the end. */
  push(message: Buffer): void {
    if (this.#end !== undefined) return;
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      reader.resolve({ done: false, value: message });
      return;
    }
    this.#messages.push(message);
    this.#heldBytes += message.length;
    this.#room.changed(this, message.length);
  }

  /** Nothing arrives any more. The reader still gets what came before, and then the error. */
  end(error?: StatusError): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#room.changed(this, 0);
    for (const reader of this.#readers.splice(0)) this.#settle(reader);
  }

  /** Discards what was not read. Given an error, the reader gets that instead. */
  drop(error?: StatusError): void {
    if (error !== undefined && this.#messages.length > 0) this.#end = { error };
    this.end(error);
    const bytes = this.#heldBytes;
    this.#messages.length = 0;
    this.#heldBytes = 0;
    this.#room.changed(this, -bytes);
  }

  /** For the room. */
  giveUp(error: StatusError): void {
    this.drop(error);
    this.#givenUp(error);
  }

  next(): Promise<IteratorResult<Buffer, undefined>> {
    const message = this.#messages.shift();
    if (message !== undefined) {
      this.#heldBytes -= message.length;
      this.#room.changed(this, -message.length);
      return Promise.resolve({ done: false, value: message });
    }
    const { promise, ...reader } = Promise.withResolvers<IteratorResult<Buffer, undefined>>();
    if (this.#end === undefined) this.#readers.push(reader);
    else this.#settle(reader);
    return promise;
  }

  /** For `break` and `return` in a `for await`. */
  return(): Promise<IteratorResult<Buffer, undefined>> {
    const isEarly = this.#end === undefined;
    this.drop();
    if (isEarly) this.#givenUp();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The error is thrown once; the end is reported as often as it is asked for. */
  #settle(reader: {
    resolve: (result: IteratorResult<Buffer, undefined>) => void;
    reject: (error: Error) => void;
  }): void {
    const error = this.#end?.error;
    if (error === undefined) {
      reader.resolve({ done: true, value: undefined });
      return;
    }
    this.#end = { error: undefined };
    reader.reject(error);
  }
}

/**
 * The inboxes of one connection. ttrpc has no flow control: the only way to hold up a sender is to stop reading its
 * connection, which holds up everything else on it. So that is done for `stallMs` at most; then the streams that nobody
 * reads fail, and the others go on.
 */
export class InboxRoom {
  readonly #hold: () => () => void;
  readonly #stallMs: number;
  readonly #full = new Set<Inbox>();
  readonly #holding = new Set<Inbox>();
  #totalBytes = 0;
  #release: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(hold: () => () => void, stallMs: number) {
    this.#hold = hold;
    this.#stallMs = stallMs;
  }

  changed(inbox: Inbox, bytes: number): void {
    if (this.#isClosed) return;
    this.#totalBytes += bytes;
    mark(this.#full, inbox, inbox.isFull && !inbox.isEnded);
    mark(this.#holding, inbox, inbox.heldBytes > 0);
    const isHeldUp = this.#full.size > 0 || this.#totalBytes >= maxTotalBytes;
    if (isHeldUp && this.#release === undefined) {
      this.#release = this.#hold();
      this.#timer = setTimeout(() => this.#stall(), this.#stallMs);
    } else if (!isHeldUp && this.#release !== undefined) {
      clearTimeout(this.#timer);
      this.#release();
      this.#release = undefined;
    }
  }

  /** The connection is over. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #stall(): void {
    const largest = [...this.#holding].reduce<Inbox[]>(
      ([most], inbox) => [most === undefined || inbox.heldBytes > most.heldBytes ? inbox : most],
      [],
    );
    this.#timer = setTimeout(() => this.#stall(), this.#stallMs);
    for (const inbox of this.#full.size > 0 ? [...this.#full] : largest) {
      inbox.giveUp(
        new StatusError(
          Code.ResourceExhausted,
          `ttrpc: the messages of the stream were not read for ${this.#stallMs} ms while its connection waited`,
        ),
      );
    }
  }
}

function mark(set: Set<Inbox>, inbox: Inbox, isIn: boolean): void {
  if (isIn) set.add(inbox);
  else set.delete(inbox);
}
