import type { IncomingMessage } from "node:http";

/** What of a refusal is read, in bytes. */
const maxErrorBytes = 16 * 1024;

/** What a server says instead of upgrading, or as much of it as came. Never rejects. */
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
    // What came of the text is all there is to tell.
  }
  return Buffer.concat(parts).toString("utf8", 0, maxErrorBytes).trim();
}
