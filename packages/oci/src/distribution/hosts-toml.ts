import { Code, StatusError } from "@keelson/base/status.ts";
import { parse } from "smol-toml";
import { sanitise } from "./failure.ts";

/**
 * One host in a `certs.d/REGISTRY/hosts.toml`, in containerd's format (containerd/docs/hosts.md). The files that it
 * names have not been read yet.
 */
export interface HostEntry {
  /** Scheme, host, port and path, without a trailing slash. */
  url: string;
  /** Do not append `/v2` to the path. */
  overridePath: boolean;
  /** What the host may be used for. */
  pull: boolean;
  resolve: boolean;
  /** Files with certificate authorities. */
  ca: string[];
  /** Files with client certificates; `key` is undefined when the same file has both. */
  client: { cert: string; key: string | undefined }[];
  /** Undefined: not set. */
  skipVerify: boolean | undefined;
  headers: Record<string, string>;
}

export interface HostsFile {
  /** Tried in this order. */
  mirrors: HostEntry[];
  /** The registry itself, tried last; undefined: the registry that the file is for, with `serverSettings`. */
  server: HostEntry | undefined;
  /** What the file says about the server apart from its address. */
  serverSettings: Omit<HostEntry, "url">;
}

/** Parses hosts.toml. Throws InvalidArgument naming the file and the key that is wrong. */
export function parseHostsToml(text: string, file: string): HostsFile {
  const root = table(parseToml(text, file), file);
  const serverSettings = settings(root, file);
  const server =
    root["server"] === undefined
      ? undefined
      : { ...serverSettings, url: address(string(root["server"], `${file}: server`), `${file}: server`) };
  const hosts = root["host"] === undefined ? {} : table(root["host"], `${file}: host`);
  const mirrors = Object.entries(hosts).map(([name, value]) => {
    const where = `${file}: host."${sanitise(name)}"`;
    return { ...settings(table(value, where), where), url: address(name, where) };
  });
  return { mirrors, server, serverSettings };
}

function parseToml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new StatusError(Code.InvalidArgument, `${file}: ${sanitise((error as Error).message)}`, error);
  }
}

function settings(t: Record<string, unknown>, where: string): Omit<HostEntry, "url"> {
  const capabilities =
    t["capabilities"] === undefined
      ? ["pull", "resolve", "push"]
      : strings(t["capabilities"], `${where}: capabilities`);
  for (const capability of capabilities) {
    if (!["pull", "resolve", "push"].includes(capability))
      throw wrong(`${where}: capabilities`, `has ${JSON.stringify(capability)}; allowed are pull, resolve and push`);
  }
  return {
    overridePath: optionalBoolean(t["override_path"], `${where}: override_path`) ?? false,
    pull: capabilities.includes("pull"),
    resolve: capabilities.includes("resolve"),
    ca: t["ca"] === undefined ? [] : strings(t["ca"], `${where}: ca`),
    client: t["client"] === undefined ? [] : clients(t["client"], `${where}: client`),
    skipVerify: optionalBoolean(t["skip_verify"], `${where}: skip_verify`),
    headers: t["header"] === undefined ? {} : headers(table(t["header"], `${where}: header`), `${where}: header`),
  };
}

/** `"file"`, `["file", …]` or `[["cert", "key"], …]`. */
function clients(value: unknown, where: string): { cert: string; key: string | undefined }[] {
  const list = Array.isArray(value) ? value : [value];
  return list.map((entry: unknown) => {
    const [cert, key, ...more] = strings(entry, where);
    if (cert === undefined || more.length > 0)
      throw wrong(where, "must be a file, or pairs of a certificate and a key");
    return { cert, key: key === "" ? undefined : key };
  });
}

function headers(t: Record<string, unknown>, where: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(t).map(([name, value]) => {
      const text = strings(value, `${where}.${sanitise(name)}`).join(", ");
      if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /[\r\n\0]/.test(text))
        throw wrong(where, `has a name or value that HTTP does not allow: ${sanitise(name)}`);
      return [name.toLowerCase(), text];
    }),
  );
}

/** Without a scheme, a host is reached with https, or with http if it is this machine. */
function address(text: string, where: string): string {
  const full = text.includes("://") ? text : `${isLoopback(hostnameOf(text)) ? "http" : "https"}://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    url.username !== "" ||
    url.search !== "" ||
    url.hash !== ""
  ) {
    throw wrong(
      where,
      `must be an address such as "https://mirror.example:5000", not ${JSON.stringify(sanitise(text))}`,
    );
  }
  return `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, "")}`;
}

/** The name in `host`, `host:port` or `[address]:port`, without brackets. */
export function hostnameOf(host: string): string {
  const bracketed = /^\[([^\]]*)\]/.exec(host);
  return bracketed?.[1] ?? host.replace(/[:/].*$/s, "");
}

/** Whether a name means this machine, the only one for which TLS is not the default. */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === "localhost" || /^127(?:\.\d{1,3}){3}$/.test(hostname) || hostname === "::1" || hostname === "[::1]"
  );
}

function table(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(where, "must be a table");
  return value as Record<string, unknown>;
}

function string(value: unknown, where: string): string {
  if (typeof value !== "string") throw wrong(where, "must be a string");
  return value;
}

function strings(value: unknown, where: string): string[] {
  return (Array.isArray(value) ? value : [value]).map((entry) => string(entry, where));
}

function optionalBoolean(value: unknown, where: string): boolean | undefined {
  if (value !== undefined && typeof value !== "boolean") throw wrong(where, "must be true or false");
  return value;
}

function wrong(where: string, what: string): StatusError {
  return new StatusError(Code.InvalidArgument, `${where} ${what}`);
}
