import type { Readable, Writable } from "node:stream";
import { codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import type { ExitStatus } from "./exit-status.ts";
import { openSpdyCommand } from "./spdy-command.ts";
import { readStreamTls, type StreamTls, type TlsFlags } from "./stream-tls.ts";
import { checkStreamUrl, withoutToken } from "./stream-url.ts";
import type { Transport } from "./transport.ts";
import { openWebSocketCommand } from "./websocket-command.ts";

/** Which streams a command has. With a terminal there is no stderr. */
export interface WantedStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** Characters and lines of a terminal. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/** The streams of a command in a container, over whatever transport. Disposing of it hangs up. */
export interface RemoteCommand extends Disposable {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Whether the other side learns of stdin's end. */
  readonly hasStdinEnd: boolean;
  /** How it ended, once all that it wrote has come. Rejects when it was not run or the connection is lost. */
  readonly ended: Promise<ExitStatus>;
  resize(size: TerminalSize): void;
}

/** How to reach a streaming server, of an address that the runtime gave. */
export interface StreamAddress {
  readonly url: string;
  readonly tls: StreamTls;
  readonly signal: AbortSignal;
}

/** Where an address of the runtime's leads. Throws InvalidArgument for a TLS file that cannot be read, Internal for an address that is none. */
export async function streamAddress(text: string, flags: TlsFlags, signal: AbortSignal): Promise<StreamAddress> {
  const url = checkStreamUrl(text);
  return { url, tls: await readStreamTls(url, flags), signal };
}

/** Opens the streams. The address works once, and for a minute only. */
export async function openRemoteCommand(address: StreamAddress, transport: Transport, wanted: WantedStreams): Promise<RemoteCommand> {
  try {
    return await (transport === "spdy" ? openSpdyCommand(address, wanted) : openWebSocketCommand(address, wanted));
  } catch (error) {
    throw new StatusError(codeOf(error), withoutToken(address.url, messageOf(error)), error);
  }
}
