import { codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import type { RemoteCommand, StreamAddress, WantedStreams } from "./command-streams.ts";
import { openSpdyCommand } from "./spdy-command.ts";
import { readStreamTls, type TlsFlags } from "./stream-tls.ts";
import { checkStreamUrl, withoutToken } from "./stream-url.ts";
import type { Transport } from "./transport.ts";
import { openWebSocketCommand } from "./websocket-command.ts";

/**
 * Completes the URL that a runtime gave with what is needed to connect. Throws InvalidArgument for a TLS file that
 * cannot be read, Internal for what is not a URL.
 */
export async function streamAddress(text: string, flags: TlsFlags, signal: AbortSignal): Promise<StreamAddress> {
  const url = checkStreamUrl(text);
  return { url, tls: await readStreamTls(url, flags), signal };
}

/** Opens the streams. The address works only once, and only for a minute. */
export async function openRemoteCommand(
  address: StreamAddress,
  transport: Transport,
  wanted: WantedStreams,
): Promise<RemoteCommand> {
  try {
    return await (transport === "spdy" ? openSpdyCommand(address, wanted) : openWebSocketCommand(address, wanted));
  } catch (error) {
    throw new StatusError(codeOf(error), withoutToken(address.url, messageOf(error)), error);
  }
}
