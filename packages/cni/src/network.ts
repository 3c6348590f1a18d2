import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { type Attachment, checkAttachment } from "./attachment.ts";
import type { AttachmentCache, CachedAttachment } from "./cache.ts";
import type { ConfigList, PluginConfig } from "./config-list.ts";
import type { JsonObject } from "./json.ts";
import { execPlugin, findPlugin, type PluginDeps } from "./plugin.ts";
import { parseResult, type Result } from "./result.ts";
import { isAtLeast } from "./version.ts";

export interface NetworkDeps extends PluginDeps {
  readonly cache: AttachmentCache;
  /** How long undoing a failed ADD may take, in ms. */
  readonly cleanupTimeoutMs: number;
  /** Called with the name of each step before it begins: `plugin bridge: ADD`. */
  readonly stage?: ((name: string) => void) | undefined;
}

/**
 * Adds a container to a network: runs each plugin in turn with the previous one's result (CNI SPEC.md section 3,
 * "Adding an attachment"). The attachment is in the cache before the first plugin runs, so that it can be undone after
 * a crash. When a plugin fails, those that ran are undone in reverse, within their own deadline. If that fails too, the
 * attachment stays in the cache for a later delNetwork.
 *
 * Throws InvalidArgument for an impossible attachment, and what execPlugin throws.
 */
export async function addNetwork(
  d: NetworkDeps,
  list: ConfigList,
  attachment: Attachment,
  signal: AbortSignal,
): Promise<Result> {
  checkAttachment(attachment);
  // Before anything has an effect: a plugin that is missing could not undo it either.
  for (const plugin of list.plugins) await findPlugin(d, plugin.type);
  await d.cache.put({ attachment, list, result: undefined });
  let result: Result | undefined;
  let started = 0;
  try {
    for (const plugin of list.plugins) {
      signal.throwIfAborted();
      started += 1;
      result = await addPlugin(d, plugin, { attachment, list, result }, signal);
    }
    if (result === undefined) throw new StatusError(Code.FailedPrecondition, `network ${list.name} has no plugins`);
    await d.cache.put({ attachment, list, result });
    return result;
  } catch (error) {
    throw await undoAdd(d, { attachment, list, result }, started, error);
  }
}

/** `soFar` has the previous plugin's result. */
async function addPlugin(
  d: NetworkDeps,
  plugin: PluginConfig,
  soFar: CachedAttachment,
  signal: AbortSignal,
): Promise<Result> {
  const stdout = await execAttached(d, "ADD", plugin, soFar, signal);
  try {
    return parseResult(stdout, soFar.list.cniVersion);
  } catch (error) {
    // Not the caller's mistake, whichever code the decoder chose.
    throw new StatusError(Code.Internal, `plugin ${plugin.type}: ADD: ${messageOf(error)}`, error);
  }
}

/** Undoes the first `started` plugins. Returns the error to throw. */
async function undoAdd(d: NetworkDeps, soFar: CachedAttachment, started: number, error: unknown): Promise<unknown> {
  const { list, attachment } = soFar;
  const signal = AbortSignal.timeout(d.cleanupTimeoutMs);
  const errors: unknown[] = [];
  // Including the one that failed: it may have done half of its work. Unlike in DEL, a plugin that fails here does not
  // stop the others: the attachment stays in the cache, so DEL will run again.
  for (const plugin of list.plugins.slice(0, started).reverse()) {
    try {
      await execAttached(d, "DEL", plugin, soFar, signal);
    } catch (undoError) {
      errors.push(undoError);
    }
  }
  try {
    if (errors.length === 0) await d.cache.remove(list.name, attachment.containerId, attachment.ifName);
  } catch (undoError) {
    errors.push(undoError);
  }
  return errors.length === 0 ? error : new SuppressedError(joined(errors), error);
}

/**
 * Removes a container from a network and forgets the attachment: runs each plugin in reverse with the ADD's result, if
 * it is known (SPEC.md section 3, "Deleting an attachment"). May be repeated. As the specification requires, it stops
 * at the first plugin that fails; the attachment then stays in the cache. Throws what execPlugin throws.
 */
export async function delNetwork(d: NetworkDeps, attached: CachedAttachment, signal: AbortSignal): Promise<void> {
  const { list, attachment } = attached;
  checkAttachment(attachment);
  for (const plugin of list.plugins.toReversed()) {
    signal.throwIfAborted();
    await execAttached(d, "DEL", plugin, attached, signal);
  }
  await d.cache.remove(list.name, attachment.containerId, attachment.ifName);
}

/**
 * Asks each plugin whether it is ready for an ADD (SPEC.md 1.1 section 2, "STATUS"). Does nothing for a list older than
 * 1.1.0. Throws the error of the first plugin that is not ready.
 */
export async function statusNetwork(d: PluginDeps, list: ConfigList, signal: AbortSignal): Promise<void> {
  if (!isAtLeast(list.cniVersion, "1.1.0")) return;
  for (const plugin of list.plugins)
    await execPlugin(d, { plugin, command: "STATUS", env: {}, config: requestConfig(list, plugin) }, signal);
}

/**
 * Sends each plugin the attachments that are still valid, so that it frees what belongs to others (SPEC.md 1.1 section
 * 3, "Garbage-collecting a network"). Does nothing for a list that forbids it or is older than 1.1.0. All plugins are
 * run; throws an error with all failures.
 */
export async function gcNetwork(
  d: PluginDeps,
  list: ConfigList,
  valid: readonly Pick<Attachment, "containerId" | "ifName">[],
  signal: AbortSignal,
): Promise<void> {
  if (list.disableGC || !isAtLeast(list.cniVersion, "1.1.0")) return;
  const attachments = valid.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }));
  const errors: unknown[] = [];
  for (const plugin of list.plugins) {
    // libcni first wrote the second key by mistake (cni#1101); plugins of that time read it.
    const config = {
      ...requestConfig(list, plugin),
      "cni.dev/valid-attachments": attachments,
      "cni.dev/attachments": attachments,
    };
    try {
      await execPlugin(d, { plugin, command: "GC", env: {}, config }, signal);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw joined(errors);
}

async function execAttached(
  d: NetworkDeps,
  command: "ADD" | "DEL",
  plugin: PluginConfig,
  { list, attachment, result }: CachedAttachment,
  signal: AbortSignal,
): Promise<string> {
  d.stage?.(`plugin ${plugin.type}: ${command}`);
  const env = {
    CNI_CONTAINERID: attachment.containerId,
    CNI_NETNS: attachment.netns,
    CNI_IFNAME: attachment.ifName,
    CNI_ARGS: attachment.args.map(([key, value]) => `${key}=${value}`).join(";"),
  };
  const config = {
    ...requestConfig(list, plugin),
    ...runtimeConfig(plugin, attachment.capabilityArgs),
    // DEL gets it since 0.4.0; older plugins may not understand it.
    ...(result === undefined || (command === "DEL" && !isAtLeast(list.cniVersion, "0.4.0"))
      ? {}
      : { prevResult: result.raw }),
  };
  return execPlugin(d, { plugin, command, env, config }, signal);
}

/**
 * SPEC.md section 3, "Deriving request configuration from plugin configuration". Against its letter, `capabilities`
 * stays: libcni has always left it in, and plugins that call others (multus) rely on it.
 */
function requestConfig(list: ConfigList, plugin: PluginConfig): JsonObject {
  const own = Object.entries(plugin.raw).filter(
    ([key]) => key !== "prevResult" && key !== "runtimeConfig" && !key.startsWith("cni.dev/"),
  );
  return { ...Object.fromEntries(own), name: list.name, cniVersion: list.cniVersion };
}

/** SPEC.md section 3, "Deriving runtimeConfig": the arguments that the plugin declares and the attachment has. */
function runtimeConfig(plugin: PluginConfig, capabilityArgs: JsonObject): JsonObject {
  const shared = Object.entries(capabilityArgs).filter(
    ([name, value]) => plugin.capabilities.has(name) && value !== undefined,
  );
  return shared.length === 0 ? {} : { runtimeConfig: Object.fromEntries(shared) };
}

function joined(errors: readonly unknown[]): StatusError {
  return new StatusError(codeOf(errors[0]), errors.map(messageOf).join("; "), errors);
}
