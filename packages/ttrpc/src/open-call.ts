import { StatusError, Code, wrapError } from "@keelson/base/status.ts";
import type { Response } from "./request.ts";

/** Takes what arrives for a call. An error that it throws fails the call. */
export interface Receiver {
  /** Nothing arrives after it. */
  takeResponse(response: Response): void;
  /** Returns true when nothing arrives after it. */
  takeData(flags: number, data: Buffer): boolean;
  /** Nothing arrives any more. */
  fail(error: StatusError): void;
}

/** The longest time that a timer can wait, 24 days in ms; longer timeouts never expire. */
export const maxTimerMs = 0x7fffffff;

/** A client's call, from the request to its last frame. */
export class OpenCall {
  readonly name: string;
  readonly receiver: Receiver;
  /** Its stream; undefined until the request is sent. */
  id: number | undefined;
  /** Takes the request out of the queue, if it is still there. */
  withdraw: () => void = () => {};
  readonly #gone: () => void;
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;
  #unlisten: (() => void) | undefined;

  constructor(name: string, receiver: Receiver, gone: () => void) {
    this.name = name;
    this.receiver = receiver;
    this.#gone = gone;
  }

  limit(timeoutMs: number | undefined, signal: AbortSignal | undefined): void {
    if (timeoutMs !== undefined && timeoutMs <= maxTimerMs) {
      this.#timer = setTimeout(
        () => this.end(new StatusError(Code.DeadlineExceeded, `${this.name}: no answer within ${timeoutMs} ms`)),
        timeoutMs,
      );
    }
    if (signal === undefined) return;
    const onAbort = () => this.end(wrapError(this.name, signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    this.#unlisten = () => signal.removeEventListener("abort", onAbort);
  }

  /** Has an effect once. The receiver fails with the error, if there is one. */
  end(error?: StatusError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#unlisten?.();
    this.withdraw();
    this.#gone();
    if (error !== undefined) this.receiver.fail(error);
  }
}
