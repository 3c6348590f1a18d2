import { codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import type { RemoteCommand, StreamAddress, WantedStreams } from "./command-streams.ts";
import { openSpdyCommand } from "./spdy-command.ts";
import { readStreamTls, type TlsFlags } from "./stream-tls.ts";
import { checkStreamUrl, withoutToken } from "./stream-url.ts";
import type { Transport } from "./transport.ts";
import { openWebSocketCommand } from "./websocket-command.ts";

/** Where an address of the runtime's leads. Throws InvalidArgument for a TLS file that cannot be read, Internal for an address that is none. */
export async function streamAddress(text: string, flags: TlsFlags, signal: AbortSignal): Promise<StreamAddress> {
  const url = checkStreamUrl(text);
  return { url, tls: await readStreamTls(url, flags), signal };
}

/** Opens the streams. The address works once, and for a minute only. */
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
