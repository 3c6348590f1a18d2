import { lstat } from "node:fs/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { CachedAttachment } from "@keelson/cni/cache.ts";
import { createNamespacesAsync, unpinNamespaceAsync } from "@keelson/linux/namespace.ts";
import { run, type RunResult } from "@keelson/linux/run.ts";

/**
 * Plugins that only look on the interface for the addresses to clean up (plugins 1.1 to 1.6: cmdDel in bridge.go,
 * ptp.go).
 */
const lookInside: ReadonlySet<string> = new Set(["bridge", "ptp"]);

/**
 * Whether DEL with an empty CNI_NETNS would leave masquerading rules behind for ever. By the specification it should
 * not, but with `ipMasq` these plugins do.
 */
export function needsStandIn({ list, result }: CachedAttachment): boolean {
  return result !== undefined && list.plugins.some(({ type, raw }) => lookInside.has(type) && raw["ipMasq"] === true);
}

/**
 * Pins a network namespace at the path of one that no longer exists, with an interface of the same name and addresses:
 * enough for plugins to clean up after the lost one. Unpins it when disposed. Needs iproute2 and util-linux. Throws
 * when it cannot be made, as after a reboot, which also removed the rules and the path's directory.
 */
export async function makeStandIn(
  { attachment, result }: CachedAttachment,
  path: string,
  signal: AbortSignal,
): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  // The path may come from a damaged file: only a pin that lost its mount may be removed here.
  const found = await lstat(path).catch(() => undefined);
  if (found !== undefined && !(found.isFile() && found.size === 0))
    throw new StatusError(Code.FailedPrecondition, `${path} is not the pin of a namespace`);
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
 * Restores the interface or its addresses in a namespace that has lost them: an interrupted DEL may have removed the
 * interface first, gVisor removes the addresses, and then the plugins do not find what to clean up. What exists is left
 * alone. Needs the same tools as `makeStandIn`.
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
