import { readdir, readFile, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import {
  type ConfigList,
  configLimitBytes,
  parseConfigList,
  parsePluginConfig,
  parseSingleConfig,
} from "./config-list.ts";

/** What a directory of network configurations holds. */
export interface ConfigDir {
  /** The first valid list in the lexical order of file names; undefined when there is none. */
  readonly first: { readonly file: string; readonly list: ConfigList } | undefined;
  /** Unusable files before the first valid one, with what is wrong; the text names the file. */
  readonly invalid: ReadonlyMap<string, string>;
}

/**
 * Reads a directory such as /etc/cni/net.d: tries `.conflist`, `.conf` and `.json` files in lexical order until one is
 * valid. A directory that does not exist counts as empty. Throws only when the directory cannot be read.
 */
export async function readConfigDir(dir: string): Promise<ConfigDir> {
  const invalid = new Map<string, string>();
  for (const name of await configFiles(dir, [".conflist", ".conf", ".json"])) {
    const file = join(dir, name);
    try {
      return { first: { file, list: await readConfigFile(dir, name) }, invalid };
    } catch (error) {
      // A file that was removed after the listing is ignored.
      if (!isMissing(error)) invalid.set(file, messageOf(error));
    }
  }
  return { first: undefined, invalid };
}

async function readConfigFile(dir: string, name: string): Promise<ConfigList> {
  const file = join(dir, name);
  const text = await readText(file);
  if (extname(name) !== ".conflist") return parseSingleConfig(text, file);
  const list = parseConfigList(text, file);
  if (list.loadOnlyInlinedPlugins) return list;
  const plugins = [...list.plugins, ...(await readPluginFolder(join(dir, list.name)))];
  if (plugins.length === 0)
    throw new StatusError(
      Code.InvalidArgument,
      `${file}: plugins: is missing, and so are .conf files in ${join(dir, list.name)}`,
    );
  return { ...list, plugins };
}

/** SPEC.md 1.1, section 1, "loadOnlyInlinedPlugins": plugins from the folder named after the network come last. */
async function readPluginFolder(folder: string) {
  const files = await configFiles(folder, [".conf"]);
  return Promise.all(
    files.map(async (name) => parsePluginConfig(await readText(join(folder, name)), join(folder, name))),
  );
}

async function configFiles(dir: string, extensions: readonly string[]): Promise<string[]> {
  try {
    const names = await readdir(dir);
    return names.filter((name) => extensions.includes(extname(name))).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function readText(file: string): Promise<string> {
  const { size } = await stat(file);
  // Checked before reading: a mistake such as a link to a disk image must not fill the memory.
  if (size > configLimitBytes)
    throw new StatusError(Code.InvalidArgument, `${file}: is larger than ${configLimitBytes} bytes`);
  return readFile(file, "utf8");
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
