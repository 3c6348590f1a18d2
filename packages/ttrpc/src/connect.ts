import { createConnection, type Socket } from "node:net";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { type ClientOptions, TtrpcClient } from "./client.ts";

/** unix(7): sun_path, without the zero byte at its end or the beginning. */
const maxNameBytes = 107;

/**
 * Connects to `unix:///path`, or `unix://@name` for an abstract socket. Throws Unavailable when nobody listens there,
 * InvalidArgument for an address of another kind, the signal's reason when aborted.
 */
export async function connectTtrpc(
  address: string,
  options: ClientOptions = {},
  signal?: AbortSignal,
): Promise<TtrpcClient> {
  signal?.throwIfAborted();
  const [, at, name] = /^unix:\/\/(@?)([^\0]+)$/.exec(address) ?? [];
  if (name === undefined || (at === "" && !name.startsWith("/"))) {
    throw new StatusError(
      Code.InvalidArgument,
      `connect to ${JSON.stringify(address)}: a ttrpc address is unix:///path or unix://@name`,
    );
  }
  if (Buffer.byteLength(name) > maxNameBytes) {
    throw new StatusError(
      Code.InvalidArgument,
      `connect to ${address}: the path has ${Buffer.byteLength(name)} bytes; ${maxNameBytes} are the most that a socket's may have`,
    );
  }
  // To servers built with an older Go (1.19, not 1.26) a zero byte at its end is a part of an abstract name.
  const paths = at === "" ? [name] : [`\0${name}`, `\0${name}\0`];
  let first: unknown;
  for (const path of paths) {
    try {
      return new TtrpcClient(await connectTo(path, signal), options);
    } catch (error) {
      if (signal?.aborted === true) throw error;
      first ??= error;
    }
  }
  throw new StatusError(Code.Unavailable, `connect to ${address}: ${reasonOf(first)}`, first);
}

async function connectTo(path: string, signal: AbortSignal | undefined): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = createConnection(path, resolve);
  socket.on("error", reject);
  const onAbort = () => reject(signal?.reason as Error);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    await promise;
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
    socket.removeListener("error", reject);
  }
}

/** Without the path, which may have a zero byte in it. */
function reasonOf(error: unknown): string {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code === undefined ? messageOf(error) : `${syscall ?? "connect"} ${code}`;
}
