import { readFile } from "node:fs/promises";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";

/** The flags for a streaming server with TLS. */
export interface TlsFlags {
  tlsSni?: string;
  tlsServerName?: string;
  tlsCa?: string;
  tlsCert?: string;
  tlsKey?: string;
}

/** The TLS options of a connection, for node:tls. */
export interface StreamTls {
  readonly servername?: string;
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly rejectUnauthorized: boolean;
}

/**
 * Reads the files that the flags name. Unless configured otherwise, a runtime's streaming server makes its own
 * certificate, which nobody can check: on a loopback address it is accepted, unless --tls-ca says what to check it
 * against.
 */
export async function readStreamTls(url: string, flags: TlsFlags): Promise<StreamTls> {
  const [ca, cert, key] = await Promise.all([
    read(flags.tlsCa, "--tls-ca"),
    read(flags.tlsCert, "--tls-cert"),
    read(flags.tlsKey, "--tls-key"),
  ]);
  const servername = flags.tlsSni ?? flags.tlsServerName;
  return {
    rejectUnauthorized: ca !== undefined || !isLoopback(new URL(url).hostname),
    ...(servername === undefined ? {} : { servername }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

async function read(path: string | undefined, flag: string): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (error) {
    throw new StatusError(Code.InvalidArgument, `${flag} ${path}: ${messageOf(error)}`, error);
  }
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
