import { StatusError, Code, wrapError } from "@keelson/base/status.ts";
import type { Response } from "./request.ts";

/** Who takes what comes for a call. What these throw fails the call. */
export interface Receiver {
  /** The last that comes. */
  takeResponse(response: Response): void;
  /** True when it was the last that comes. */
  takeData(flags: number, data: Buffer): boolean;
  /** Nothing comes any more. */
  fail(error: StatusError): void;
}

/** Longer timeouts are more than a timer can do (24 days), and are none. */
export const maxTimerMs = 0x7fffffff;

/** A call of a client, from its wish to its last frame. */
export class OpenCall {
  readonly name: string;
  readonly receiver: Receiver;
  /** Its stream; undefined until the request is sent. */
  id: number | undefined;
  /** Takes the request out of the queue, if it is still there. */
  takeBack: () => void = () => {};
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

  /** Once; with an error the receiver is told. */
  end(error?: StatusError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#unlisten?.();
    this.takeBack();
    this.#gone();
    if (error !== undefined) this.receiver.fail(error);
  }
}
