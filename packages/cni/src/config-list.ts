import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { isJsonObject, type JsonObject, jsonType, parseJsonObject, printable } from "./json.ts";
import { highestVersion, oldestVersion, type SpecVersion, specVersions } from "./version.ts";

/** More than any real list needs; each cached attachment contains a copy. */
export const configLimitBytes = 1 << 20;

/** One entry of `plugins`: what the runtime must know, and everything that the plugin will get. */
export interface PluginConfig {
  /** The binary's name. */
  readonly type: string;
  /** The capabilities that are declared true. */
  readonly capabilities: ReadonlySet<string>;
  /** The object as written, including unknown keys. */
  readonly raw: JsonObject;
}

/** A checked network configuration list (CNI SPEC.md section 1). */
export interface ConfigList {
  readonly name: string;
  /** The highest version that both the list and we support; the plugins are called with it. */
  readonly cniVersion: SpecVersion;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly loadOnlyInlinedPlugins: boolean;
  readonly plugins: readonly PluginConfig[];
}

/**
 * Parses a `.conflist`. Without `plugins` the list is empty: then they are in the folder named after the network.
 * `source` is the file's name, for messages. Throws InvalidArgument naming the file and the key.
 */
export function parseConfigList(text: string, source: string): ConfigList {
  return within(source, () => {
    const raw = parseJsonObject(text, configLimitBytes);
    const plugins = raw["plugins"];
    const loadOnlyInlinedPlugins = boolean(raw, "loadOnlyInlinedPlugins");
    if (plugins === undefined && loadOnlyInlinedPlugins)
      throw invalid("plugins: is required when loadOnlyInlinedPlugins is true");
    if (plugins !== undefined && (!Array.isArray(plugins) || plugins.length === 0))
      throw invalid("plugins: must be a list with at least one plugin");
    return {
      name: networkName(raw),
      cniVersion: negotiate(raw),
      disableCheck: boolean(raw, "disableCheck"),
      disableGC: boolean(raw, "disableGC"),
      loadOnlyInlinedPlugins,
      plugins: ((plugins ?? []) as unknown[]).map((plugin, index) => pluginConfig(plugin, `plugins[${index}]`)),
    };
  });
}

/** Parses a `.conf` or `.json`, the configuration of a single plugin, as a list of one. Throws like parseConfigList. */
export function parseSingleConfig(text: string, source: string): ConfigList {
  return within(source, () => {
    const raw = parseJsonObject(text, configLimitBytes);
    if ("plugins" in raw) throw invalid("plugins: belongs in a file that ends in .conflist");
    return {
      name: networkName(raw),
      cniVersion: negotiate(raw),
      disableCheck: false,
      disableGC: false,
      loadOnlyInlinedPlugins: true,
      plugins: [pluginConfig(raw, "")],
    };
  });
}

/** Parses one plugin's configuration from the folder named after the network (SPEC.md 1.1, section 1). */
export function parsePluginConfig(text: string, source: string): PluginConfig {
  return within(source, () => pluginConfig(parseJsonObject(text, configLimitBytes), ""));
}

/** The list as one JSON document with all of its plugins, for parseConfigList. */
export function encodeConfigList(list: ConfigList): string {
  return JSON.stringify({
    cniVersion: list.cniVersion,
    name: list.name,
    disableCheck: list.disableCheck,
    disableGC: list.disableGC,
    loadOnlyInlinedPlugins: list.loadOnlyInlinedPlugins,
    plugins: list.plugins.map((plugin) => plugin.raw),
  });
}

function within<T>(source: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw wrapError(source, error);
  }
}

function networkName(raw: JsonObject): string {
  const name = raw["name"];
  if (typeof name !== "string") throw invalid(`name: must be a string, not ${jsonType(name)}`);
  // The name becomes part of file names, both ours and the plugins' (host-local: /var/lib/cni/networks/NAME).
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(name)) {
    throw invalid(
      `name: "${printable(name)}" must be 1 to 128 letters, digits, "_", "." and "-", and begin with a letter or digit`,
    );
  }
  return name;
}

function negotiate(raw: JsonObject): SpecVersion {
  const offered: string[] = [];
  if (raw["cniVersions"] !== undefined) offered.push(...stringList(raw["cniVersions"], "cniVersions"));
  const version = raw["cniVersion"];
  if (version !== undefined && typeof version !== "string")
    throw invalid(`cniVersion: must be a string, not ${jsonType(version)}`);
  if (version !== undefined && version !== "") offered.push(version);
  if (offered.length === 0) return oldestVersion;
  const highest = highestVersion(offered);
  if (highest !== undefined) return highest;
  throw invalid(`cniVersion: "${printable(offered.join(", "))}" is not supported; allowed: ${specVersions.join(", ")}`);
}

function stringList(value: unknown, key: string): string[] {
  if (!Array.isArray(value)) throw invalid(`${key}: must be a list, not ${jsonType(value)}`);
  return value.map((entry: unknown, index) => {
    if (typeof entry !== "string") throw invalid(`${key}[${index}]: must be a string, not ${jsonType(entry)}`);
    return entry;
  });
}

function boolean(raw: JsonObject, key: string): boolean {
  const value = raw[key];
  if (value === undefined) return false;
  if (typeof value === "boolean") return value;
  // libcni accepts these strings too, so there are configurations that use them.
  const word = typeof value === "string" ? value.toLowerCase() : undefined;
  if (word === "true" || word === "false") return word === "true";
  throw invalid(`${key}: must be true or false`);
}

function pluginConfig(raw: unknown, at: string): PluginConfig {
  const key = (name: string): string => (at === "" ? name : `${at}.${name}`);
  if (!isJsonObject(raw)) throw invalid(`${at}: must be an object, not ${jsonType(raw)}`);
  return {
    type: pluginType(raw["type"], key("type")),
    capabilities: capabilities(raw["capabilities"], key("capabilities")),
    raw,
  };
}

/** SPEC.md section 1: "Must not contain characters disallowed in file paths for the system (e.g. / or \\)". */
function pluginType(type: unknown, key: string): string {
  if (typeof type !== "string") throw invalid(`${key}: must be a string, not ${jsonType(type)}`);
  if (!/^[^/\\\p{Cc}\s]{1,255}$/u.test(type) || type === "." || type === "..") {
    throw invalid(`${key}: "${printable(type)}" must be the plain name of a plugin's binary`);
  }
  return type;
}

function capabilities(value: unknown, key: string): ReadonlySet<string> {
  if (value === undefined || value === null) return new Set();
  if (!isJsonObject(value)) throw invalid(`${key}: must be an object, not ${jsonType(value)}`);
  return new Set(
    Object.keys(value).filter((name) => {
      if (typeof value[name] !== "boolean") throw invalid(`${key}.${printable(name)}: must be true or false`);
      return value[name];
    }),
  );
}

function invalid(message: string): StatusError {
  return new StatusError(Code.InvalidArgument, message);
}
