import { lstat } from "node:fs/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { CachedAttachment } from "@keelson/cni/cache.ts";
import { createNamespacesAsync, unpinNamespaceAsync } from "@keelson/linux/namespace.ts";
import { run, type RunResult } from "@keelson/linux/run.ts";

/** Plugins that look for the addresses to clean up after nowhere but on the interface (plugins 1.1 to 1.6: bridge.go, ptp.go, cmdDel). */
const lookInside: ReadonlySet<string> = new Set(["bridge", "ptp"]);

/**
 * Would DEL with an empty CNI_NETNS leave masquerading rules behind for ever? It should not, by the specification; these plugins do
 * it nevertheless when they have `ipMasq`.
 */
export function needsStandIn({ list, result }: CachedAttachment): boolean {
  return result !== undefined && list.plugins.some(({ type, raw }) => lookInside.has(type) && raw["ipMasq"] === true);
}

/**
 * Pins a network namespace at the attachment's path, where there was one and is none now, with an interface of the same name and
 * addresses: enough for plugins to clean up after the one that is gone. Unpins it when disposed of. Needs iproute2 and
 * util-linux. Throws when it cannot be made, as after a reboot, which takes the rules along with the path's directory.
 */
export async function makeStandIn(
  { attachment, result }: CachedAttachment,
  path: string,
  signal: AbortSignal,
): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  // The path may come from a damaged file: what is removed here is a pin that lost its mount and nothing else.
  const found = await lstat(path).catch(() => undefined);
  if (found !== undefined && !(found.isFile() && found.size === 0))
    throw new StatusError(Code.FailedPrecondition, `${path} is no pin of a namespace`);
  await unpinNamespaceAsync(path);
  await createNamespacesAsync({ net: path });
  undo.defer(() => unpinNamespaceAsync(path));
  const { code, stderr } = await addInterface({ attachment, result }, path, signal);
  if (code !== 0)
    throw new StatusError(
      Code.Internal,
      `make a stand-in for the network namespace ${path}: ip: ${stderr.toString().trim().slice(0, 200)}`,
    );
  return undo.move();
}

/**
 * Makes the interface anew in a namespace that has lost it, or its addresses: a DEL that was cut short removes it first,
 * gVisor takes the addresses off it, and the plugins then find nothing to clean up after. What is there stays as it is.
 * Needs the tools that `makeStandIn` needs.
 */
export async function restoreInterface(entry: CachedAttachment, path: string, signal: AbortSignal): Promise<void> {
  await addInterface(entry, path, signal, ["-force"]);
}

function addInterface(
  { attachment: { ifName }, result }: Pick<CachedAttachment, "attachment" | "result">,
  path: string,
  signal: AbortSignal,
  options: readonly string[] = [],
): Promise<RunResult> {
  const addresses = (result?.ips ?? []).map((ip) => `addr add ${ip.address} dev ${ifName}\n`);
  const batch = `link add ${ifName} type veth peer name peer0\n${addresses.join("")}`;
  return run(
    { file: "nsenter", args: [`--net=${path}`, "ip", ...options, "-batch", "-"], stdin: Buffer.from(batch) },
    signal,
  );
}
