import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type HostEntry, type HostsFile, hostnameOf, isLoopback, parseHostsToml } from "./hosts-toml.ts";
import type { TlsSettings } from "./transport.ts";

/**
 * A host that has a registry's images: the registry itself or a mirror. Plain data, so it can go to a worker thread.
 */
export interface RegistryHost {
  /** The address before `/NAME/manifests/…`, usually ending in `/v2`. */
  baseUrl: string;
  pull: boolean;
  resolve: boolean;
  headers: Record<string, string>;
  tls: TlsSettings;
  /** The registry's name, sent as `?ns=` to a mirror, which may serve several registries. */
  namespace: string | undefined;
}

/**
 * The hosts of a registry in the order in which to try them: the mirrors in the first `DIR/REGISTRY/hosts.toml` that
 * exists (or else `DIR/_default/hosts.toml`), then the registry itself. The file is read for each pull, so that changes
 * take effect at once. Throws InvalidArgument for a malformed file, FailedPrecondition for a certificate that cannot be
 * read.
 */
export async function registryHosts(registry: string, configDirs: readonly string[]): Promise<RegistryHost[]> {
  for (const name of [...directoryNames(registry), "_default"]) {
    for (const dir of configDirs) {
      const hosts = await readDirectory(registry, join(dir, name));
      if (hosts !== undefined) return hosts;
    }
  }
  return [defaultHost(registry)];
}

/** In containerd's directories a port may be written `host_5000_`, as not every file system allows colons in names. */
function directoryNames(registry: string): string[] {
  const port = /^(.*):(\d+)$/.exec(registry);
  return port === null ? [registry] : [`${port[1]}_${port[2]}_`, registry];
}

async function readDirectory(registry: string, dir: string): Promise<RegistryHost[] | undefined> {
  const names = await readdir(dir).catch(() => undefined);
  if (names === undefined) return undefined;
  if (!names.includes("hosts.toml")) return dockerCertificates(registry, dir, names);
  const path = join(dir, "hosts.toml");
  const file = parseHostsToml(await readConfigFile(path, path), path);
  const upstream = file.server ?? { ...file.serverSettings, url: defaultAddress(registry, file) };
  return Promise.all([...file.mirrors, upstream].map((entry) => hostOf(registry, entry, dir)));
}

/**
 * Docker's layout: `*.crt` for authorities, `*.cert` and `*.key` for client certificates (docs.docker.com
 * "certificates").
 */
async function dockerCertificates(registry: string, dir: string, names: string[]): Promise<RegistryHost[] | undefined> {
  const ca = names.filter((name) => name.endsWith(".crt"));
  const client = names
    .filter((name) => name.endsWith(".cert"))
    .map((cert) => ({ cert, key: cert.replace(/cert$/, "key") }));
  if (ca.length + client.length === 0) return undefined;
  const entry = {
    url: `https://${serverName(registry)}`,
    overridePath: false,
    pull: true,
    resolve: true,
    ca,
    client,
    skipVerify: undefined,
    headers: {},
  };
  return [await hostOf(registry, entry, dir)];
}

async function hostOf(registry: string, entry: HostEntry, dir: string): Promise<RegistryHost> {
  const host = new URL(entry.url).host;
  const client = entry.client[0];
  return {
    baseUrl: entry.overridePath || entry.url.endsWith("/v2") ? entry.url : `${entry.url}/v2`,
    pull: entry.pull,
    resolve: entry.resolve,
    headers: entry.headers,
    tls: {
      ca: await Promise.all(entry.ca.map((file) => readConfigFile(resolve(dir, file), dir))),
      client: client && {
        cert: await readConfigFile(resolve(dir, client.cert), dir),
        key: await readConfigFile(resolve(dir, client.key ?? client.cert), dir),
      },
      skipVerify: entry.skipVerify ?? false,
    },
    namespace: host === serverName(registry) || host === registry ? undefined : registry,
  };
}

async function readConfigFile(path: string, where: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new StatusError(
      Code.FailedPrecondition,
      `registry configuration ${where}: ${(error as Error).message}`,
      error,
    );
  }
}

function defaultHost(registry: string): RegistryHost {
  const scheme = isLoopback(hostnameOf(registry)) ? "http" : "https";
  const tls = { ca: [], client: undefined, skipVerify: false };
  return {
    baseUrl: `${scheme}://${serverName(registry)}/v2`,
    pull: true,
    resolve: true,
    headers: {},
    tls,
    namespace: undefined,
  };
}

/** A registry on this machine is used without TLS, unless its file has settings for TLS. */
function defaultAddress(registry: string, file: HostsFile): string {
  const { ca, client, skipVerify } = file.serverSettings;
  const wantsTls = ca.length > 0 || client.length > 0 || skipVerify !== undefined;
  return `${isLoopback(hostnameOf(registry)) && !wantsTls ? "http" : "https"}://${serverName(registry)}`;
}

function serverName(registry: string): string {
  return registry === "docker.io" ? "registry-1.docker.io" : registry;
}
