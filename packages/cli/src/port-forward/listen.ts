import { createServer, type Server, type Socket } from "node:net";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";

/** A local port that accepts connections, on one address or more. */
export interface Listener extends Disposable {
  /** `127.0.0.1:8080`, `[::1]:8080` */
  readonly addresses: readonly string[];
}

/**
 * Listens on the same port of each address; 0 for a free one. For `localhost` one of IPv4 and IPv6 is enough: a host
 * may have only one of them. Throws Unavailable.
 */
export async function listen(
  addresses: readonly string[],
  port: number,
  onConnection: (socket: Socket) => void,
): Promise<Listener> {
  const servers: Server[] = [];
  const errors: unknown[] = [];
  const dispose = () => {
    for (const server of servers) server.close();
  };
  for (const [address, isNeeded] of addresses.flatMap((one): [string, boolean][] =>
    one === "localhost"
      ? [
          ["127.0.0.1", false],
          ["::1", false],
        ]
      : [[one, true]],
  )) {
    try {
      servers.push(
        await listenAt(address, port === 0 && servers.length > 0 ? portOf(servers[0]!) : port, onConnection),
      );
    } catch (error) {
      errors.push(error);
      const isTaken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
      if (!isNeeded && !isTaken) continue;
      dispose();
      throw cannot(address, port, error);
    }
  }
  if (servers.length === 0) throw cannot(addresses.join(", "), port, errors[0]);
  return { addresses: servers.map(addressOf), [Symbol.dispose]: dispose };
}

function listenAt(host: string, port: number, onConnection: (socket: Socket) => void): Promise<Server> {
  // Half-open: the pod may still answer after the client has ended its half.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, onConnection);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, ipv6Only: true }, () => resolve(server));
  });
}

function cannot(address: string, port: number, error: unknown): StatusError {
  return new StatusError(
    Code.Unavailable,
    `listen on ${address} port ${port}: ${messageOf(error)}; choose another with LOCAL:PORT, or :PORT for any`,
    error,
  );
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

function addressOf(server: Server): string {
  const address = server.address();
  if (typeof address !== "object" || address === null) return "";
  return address.family === "IPv6" ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}
