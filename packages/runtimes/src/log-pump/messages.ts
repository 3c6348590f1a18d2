/** A container whose streams are pumped. FIFOs `stdin`, `stdout` and `stderr`, and the spools, are in its directory. */
export interface PumpedContainer {
  readonly id: string;
  readonly dir: string;
  /** Absolute; "" for no log. */
  readonly logPath: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
}

/** Messages to the pump's thread. Each is answered by a "done" with its `call`. */
export type ToPump = { readonly call: number } & PumpCall;

export type PumpCall =
  | { readonly is: "open"; readonly container: PumpedContainer }
  /** The fd of a connected SOCK_SEQPACKET socket is the thread's from now on. */
  | { readonly is: "attach"; readonly id: string; readonly fd: number }
  /** Write to a new file at the log's path. */
  | { readonly is: "reopen"; readonly id: string }
  /** Write what there is, until the streams have ended or bring nothing for some ms; then close them. */
  | { readonly is: "close"; readonly id: string; readonly stillMs: number };

export type FromPump =
  | { readonly is: "done"; readonly call: number; readonly error?: string }
  /** By the first client that attached to it, for good. */
  | { readonly is: "stdin closed"; readonly id: string }
  | { readonly is: "warning"; readonly id: string; readonly text: string };
