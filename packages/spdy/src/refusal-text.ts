import type { IncomingMessage } from "node:http";

/** How much of a refusal is read, in bytes. */
const maxErrorBytes = 16 * 1024;

/** The body of a response with which a server refuses to upgrade, or as much of it as came. Never rejects. */
export async function refusalText(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      parts.push(part);
      length += part.length;
      if (length > maxErrorBytes) break;
    }
  } catch {
    // What has come of the text has to do.
  }
  return Buffer.concat(parts).toString("utf8", 0, maxErrorBytes).trim();
}
