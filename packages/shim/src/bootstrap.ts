import { Code, StatusError } from "@keelson/base/status.ts";

/**
 * How to reach a shim: the version of its Task service, and `unix://` with the path of its socket, or with `@` and the
 * name of an abstract one.
 */
export interface Bootstrap {
  readonly version: 2 | 3;
  readonly address: string;
}

/** How much a shim may print at its start, in bytes. */
export const maxBootstrapBytes = 4096;

/** unix(7): sun_path, without the zero byte at its end, or at the beginning of an abstract name. */
const maxPathBytes = 107;

const maxQuotedCharacters = 200;

/**
 * Reads what a shim's `start` printed: a line with the address of its socket (then it speaks Task v2), or JSON with
 * version, address and protocol. Throws Internal for anything else, FailedPrecondition for protocols that we do not
 * speak.
 */
export function parseBootstrap(output: Buffer): Bootstrap {
  if (output.length > maxBootstrapBytes) throw unreadable(`${output.length} bytes or more`, output);
  const text = output.toString().trim();
  if (text === "") throw unreadable("nothing", output);
  if (!text.startsWith("{")) return { version: 2, address: checkAddress(text, output) };
  const { version, address, protocol } = parseObject(text, output);
  if (version !== 2 && version !== 3)
    throw unknown(`version ${JSON.stringify(version)} of the protocol; keelson speaks 2 and 3`);
  if (typeof address !== "string") throw unreadable("JSON without an address", output);
  if (protocol !== undefined && protocol !== "" && protocol !== "ttrpc")
    throw unknown(`the protocol ${quoted(JSON.stringify(protocol))}; keelson speaks ttrpc`);
  return { version, address: checkAddress(address, output) };
}

function parseObject(text: string, output: Buffer): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw unreadable("broken JSON", output);
  }
}

/** To containerd, and so to the shims written for it, an address without `unix://` is the name of an abstract socket. */
function checkAddress(address: string, output: Buffer): string {
  const full = address.startsWith("unix://") ? address : `unix://@${address}`;
  const path = full.slice("unix://".length);
  if (/^@[a-z][a-z0-9+.-]*:\/\//.test(path))
    throw unknown(`the address ${quoted(address)}; keelson connects to unix sockets`);
  // Every shim makes the name look like a path; whatever else a program prints is its complaint.
  const isName = full === address || /^[/@]/.test(address);
  if (!isName || !/^(\/[^\p{Cc}]+|@[^\p{Cc}\s]+)$/u.test(path)) throw unreadable("no address", output);
  if (Buffer.byteLength(path.replace(/^@/, "")) > maxPathBytes)
    throw unreadable(`an address whose path is longer than the ${maxPathBytes} bytes that a socket's may have`, output);
  return full;
}

/** The path of a shim's socket; undefined for an abstract one, which goes with the shim. */
export function socketPathOf({ address }: Bootstrap): string | undefined {
  const path = address.slice("unix://".length);
  return path.startsWith("/") ? path : undefined;
}

function unreadable(what: string, output: Buffer): StatusError {
  return new StatusError(
    Code.Internal,
    `the shim's start printed ${what} in place of the address of its socket: ${quoted(output.toString("utf8", 0, maxBootstrapBytes))}`,
  );
}

function unknown(what: string): StatusError {
  return new StatusError(Code.FailedPrecondition, `the shim has ${what}`);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > maxQuotedCharacters ? `${text.slice(0, maxQuotedCharacters)}…` : text);
}
