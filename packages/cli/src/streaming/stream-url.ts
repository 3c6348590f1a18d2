import { Code, StatusError } from "@keelson/base/status.ts";

/**
 * Checks the URL with which a runtime answers Exec, Attach or PortForward. Throws Internal for anything else, without
 * showing its text, which may have a token in it.
 */
export function checkStreamUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new StatusError(Code.Internal, "the runtime gave no http URL for the stream");
  return url.href;
}

/** An error's text without the URL's token, which would let in anybody who reads it. */
export function withoutToken(url: string, text: string): string {
  return text.replaceAll(url, new URL(url).origin);
}
