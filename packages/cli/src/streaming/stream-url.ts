import { Code, StatusError } from "@keelson/base/status.ts";

/**
 * The address that a runtime answers Exec, Attach or PortForward with. Throws Internal for anything that is no http
 * address, without the token that is in it.
 */
export function checkStreamUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new StatusError(Code.Internal, "the runtime gave no http address for the stream");
  return url.href;
}

/** An error's text without the address's token, which lets whoever reads it in. */
export function withoutToken(url: string, text: string): string {
  return text.replaceAll(url, new URL(url).origin);
}
