import { Code, StatusError } from "@keelson/base/status.ts";

/** How streams travel. */
export type Transport = "spdy" | "websocket";

/** Checks the value of --transport. Throws InvalidArgument. */
export function parseTransport(text: string): Transport {
  if (text === "spdy" || text === "websocket") return text;
  throw new StatusError(Code.InvalidArgument, `--transport ${text}: must be spdy or websocket`);
}
