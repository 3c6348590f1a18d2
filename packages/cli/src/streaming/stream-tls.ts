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

/** What a connection with TLS is made with, as node:tls takes it. */
export interface StreamTls {
  readonly servername?: string;
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly rejectUnauthorized: boolean;
}

/**
 * Reads the files that the flags name. A runtime's streaming server makes a certificate of its own unless told
 * otherwise, which nobody can check: on this host's loopback it is taken as it is, unless --tls-ca says what to check it with.
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
