import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { type Attachment, type AttachmentCache, checkAttachment } from "./cache.ts";
import type { ConfigList, PluginConfig } from "./config-list.ts";
import type { JsonObject } from "./json.ts";
import { type Command, execPlugin, findPlugin, type PluginDeps } from "./plugin.ts";
import { parseResult, type Result } from "./result.ts";
import { isAtLeast } from "./version.ts";

export interface NetworkDeps extends PluginDeps {
  readonly cache: AttachmentCache;
  /** How long undoing an ADD that failed may take, in ms. */
  readonly cleanupTimeoutMs: number;
  /** Told of each plugin before it runs: `plugin bridge: ADD`. */
  readonly stage?: ((name: string) => void) | undefined;
}

/**
 * Adds a container to a network: each plugin in turn, with the result of the one before (CNI SPEC.md section 3,
 * "Adding an attachment"). The attachment is in the cache before the first plugin runs, so that a crash
 * can be undone. When a plugin fails, those that ran are undone in reverse with a deadline of its own; when that fails
 * too, the attachment stays in the cache for a later delNetwork.
 *
 * Throws InvalidArgument for an attachment that cannot be, and what execPlugin throws.
 */
export async function addNetwork(
  d: NetworkDeps,
  list: ConfigList,
  attachment: Attachment,
  signal: AbortSignal,
): Promise<Result> {
  checkAttachment(attachment);
  // Before anything has an effect: a plugin that is missing could not be undone either.
  for (const plugin of list.plugins) await findPlugin(d, plugin.type);
  await d.cache.put({ attachment, list, result: undefined });
  let result: Result | undefined;
  let started = 0;
  try {
    for (const plugin of list.plugins) {
      signal.throwIfAborted();
      started += 1;
      result = await addPlugin(d, list, plugin, attachment, result, signal);
    }
    if (result === undefined) throw new StatusError(Code.FailedPrecondition, `network ${list.name} has no plugins`);
    await d.cache.put({ attachment, list, result });
    return result;
  } catch (error) {
    throw await undoAdd(d, list, attachment, { result, started, error });
  }
}

async function addPlugin(
  d: NetworkDeps,
  list: ConfigList,
  plugin: PluginConfig,
  attachment: Attachment,
  previous: Result | undefined,
  signal: AbortSignal,
): Promise<Result> {
  const stdout = await execAttached(d, list, plugin, "ADD", attachment, previous, signal);
  try {
    return parseResult(stdout, list.cniVersion);
  } catch (error) {
    // Not the caller's mistake, whatever the decoder says.
    throw new StatusError(Code.Internal, `plugin ${plugin.type}: ADD: ${messageOf(error)}`, error);
  }
}

/** Answers what to throw. */
async function undoAdd(
  d: NetworkDeps,
  list: ConfigList,
  attachment: Attachment,
  failed: { readonly result: Result | undefined; readonly started: number; readonly error: unknown },
): Promise<unknown> {
  const signal = AbortSignal.timeout(d.cleanupTimeoutMs);
  const errors: unknown[] = [];
  // The one that failed too: it may have done half of its work. Here, other than in DEL, one that fails does not
  // keep the others from running: the attachment stays known, and DEL comes again.
  for (const plugin of list.plugins.slice(0, failed.started).reverse()) {
    try {
      await execAttached(d, list, plugin, "DEL", attachment, failed.result, signal);
    } catch (error) {
      errors.push(error);
    }
  }
  try {
    if (errors.length === 0) await d.cache.remove(list.name, attachment.containerId, attachment.ifName);
  } catch (error) {
    errors.push(error);
  }
  return errors.length === 0 ? failed.error : new SuppressedError(joined(errors), failed.error);
}

/**
 * Takes a container from a network: each plugin in reverse with the result of the ADD, undefined when it is
 * not known (SPEC.md section 3, "Deleting an attachment"), and forgets the attachment. May be repeated. The first
 * plugin that fails ends it, as the specification wants: the attachment stays in the cache. Throws what execPlugin throws.
 */
export async function delNetwork(
  d: NetworkDeps,
  list: ConfigList,
  attachment: Attachment,
  result: Result | undefined,
  signal: AbortSignal,
): Promise<void> {
  checkAttachment(attachment);
  for (const plugin of list.plugins.toReversed()) {
    signal.throwIfAborted();
    await execAttached(d, list, plugin, "DEL", attachment, result, signal);
  }
  await d.cache.remove(list.name, attachment.containerId, attachment.ifName);
}

/**
 * Asks each plugin whether the attachment is still as its ADD left it (SPEC.md section 3, "Checking an attachment").
 * Does nothing for a list that forbids it or is older than 0.4.0. Throws what execPlugin throws.
 */
export async function checkNetwork(
  d: NetworkDeps,
  list: ConfigList,
  attachment: Attachment,
  result: Result,
  signal: AbortSignal,
): Promise<void> {
  checkAttachment(attachment);
  if (list.disableCheck || !isAtLeast(list.cniVersion, "0.4.0")) return;
  for (const plugin of list.plugins) await execAttached(d, list, plugin, "CHECK", attachment, result, signal);
}

/**
 * Asks each plugin whether it is ready for an ADD (SPEC.md 1.1 section 2, "STATUS"). Does nothing for a list
 * older than 1.1.0. Throws what the first one says that is not ready.
 */
export async function statusNetwork(d: PluginDeps, list: ConfigList, signal: AbortSignal): Promise<void> {
  if (!isAtLeast(list.cniVersion, "1.1.0")) return;
  for (const plugin of list.plugins)
    await execPlugin(d, plugin, "STATUS", { env: {}, config: requestConfig(list, plugin) }, signal);
}

/**
 * Tells each plugin which attachments are still valid, so that it gives back what belongs to others (SPEC.md 1.1
 * section 3, "Garbage-collecting a network"). Does nothing for a list that forbids it or is older than 1.1.0. All
 * plugins are asked; throws with all that failed.
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
    // The second key is what libcni wrote by mistake at first (cni#1101); plugins of that time read it.
    const config = {
      ...requestConfig(list, plugin),
      "cni.dev/valid-attachments": attachments,
      "cni.dev/attachments": attachments,
    };
    try {
      await execPlugin(d, plugin, "GC", { env: {}, config }, signal);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw joined(errors);
}

async function execAttached(
  d: NetworkDeps,
  list: ConfigList,
  plugin: PluginConfig,
  command: Command,
  attachment: Attachment,
  previous: Result | undefined,
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
    // DEL and CHECK get it since 0.4.0; what is older need not understand it.
    ...(previous === undefined || (command !== "ADD" && !isAtLeast(list.cniVersion, "0.4.0"))
      ? {}
      : { prevResult: previous.raw }),
  };
  return execPlugin(d, plugin, command, { env, config }, signal);
}

/**
 * SPEC.md section 3, "Deriving request configuration from plugin configuration". `capabilities` stays, against its
 * letter: libcni has always left it there, and plugins that call others (multus) are used to it.
 */
function requestConfig(list: ConfigList, plugin: PluginConfig): JsonObject {
  const own = Object.entries(plugin.raw).filter(
    ([key]) => key !== "prevResult" && key !== "runtimeConfig" && !key.startsWith("cni.dev/"),
  );
  return { ...Object.fromEntries(own), name: list.name, cniVersion: list.cniVersion };
}

/** SPEC.md section 3, "Deriving runtimeConfig": what the plugin declares and the runtime has. */
function runtimeConfig(plugin: PluginConfig, capabilityArgs: JsonObject): JsonObject {
  const shared = Object.entries(capabilityArgs).filter(
    ([name, value]) => plugin.capabilities.has(name) && value !== undefined,
  );
  return shared.length === 0 ? {} : { runtimeConfig: Object.fromEntries(shared) };
}

function joined(errors: readonly unknown[]): StatusError {
  return new StatusError(codeOf(errors[0]), errors.map(messageOf).join("; "), errors);
}
