import type { Code } from "@keelson/base/status.ts";

/** A container whose streams are copied. Its directory has the FIFOs `stdin`, `stdout` and `stderr`, and the spools. */
export interface PumpedContainer {
  readonly id: string;
  readonly dir: string;
  /** Absolute; "" for no log. */
  readonly logPath: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
}

/** Messages to the pump's thread. It answers each by a "done" with the same `call`. */
export type ToPump = { readonly call: number } & PumpCall;

export type PumpCall =
  | { readonly is: "open"; readonly container: PumpedContainer }
  /** The fd is that of a connected SOCK_SEQPACKET socket; the thread closes it. */
  | { readonly is: "attach"; readonly id: string; readonly fd: number }
  /** Write to a new file at the log's path. */
  | { readonly is: "reopen"; readonly id: string }
  /** Copy until the streams have ended, or bring nothing for some ms; then close them. */
  | { readonly is: "close"; readonly id: string; readonly stillMs: number };

export type FromPump =
  | { readonly is: "done"; readonly call: number; readonly error?: { readonly code: Code; readonly message: string } }
  /** An attached client has ended the input of a container with `stdinOnce`, for good. */
  | { readonly is: "stdin closed"; readonly id: string }
  | { readonly is: "warning"; readonly id: string; readonly text: string };
