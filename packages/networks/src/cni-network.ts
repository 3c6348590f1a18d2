import { statfs } from "node:fs/promises";
import type { Log } from "@keelson/base/log.ts";
import { messageOf, wrapError } from "@keelson/base/status.ts";
import { type Attachment, isArgument } from "@keelson/cni/attachment.ts";
import { AttachmentCache, type CachedAttachment } from "@keelson/cni/cache.ts";
import type { ConfigList } from "@keelson/cni/config-list.ts";
import { addNetwork, delNetwork, gcNetwork, type NetworkDeps } from "@keelson/cni/network.ts";
import { findPlugin, type PluginExec } from "@keelson/cni/plugin.ts";
import type { Result } from "@keelson/cni/result.ts";
import type { AttachedPod } from "./attached-pod.ts";
import { capabilityArgs, cniArgs } from "./capability-args.ts";
import { binariesOf, checkPlugins, ConfiguredNetwork, type PluginCheck } from "./configured-network.ts";
import { podIps } from "./pod-ips.ts";
import type { NetworkStatus, PodAddresses, PodNetwork, Stage } from "./pod-network.ts";
import { makeStandIn, needsStandIn, restoreInterface } from "./stand-in.ts";

export interface CniNetworkDeps {
  readonly log: Log;
  /** Such as /etc/cni/net.d. */
  readonly confDir: string;
  /** Other directories that pods may name. */
  readonly otherConfDirs?: readonly string[];
  readonly binDirs: readonly string[];
  /** Where attachments are recorded; must survive a reboot, as allocated addresses do. */
  readonly cacheDir: string;
  /** `createPluginExec(process.env)`, or a fake. */
  readonly exec: PluginExec;
  /** Without it, no plugin is checked for known holes. */
  readonly check?: PluginCheck;
  /** How long undoing a failed ADD may take, in ms; default 60,000. */
  readonly cleanupTimeoutMs?: number;
  /** Called each time a detached pod is forgotten because there are too many. */
  readonly onForgotten?: () => void;
  /** Default: performance.now. */
  readonly nowMs?: () => number;
}

/** The name of a pod's interface, as in every other runtime. */
const ifName = "eth0";
/** How many detached pods are remembered; more than a node has. */
const maxDetached = 4096;

/** Pods' networks made by CNI plugins. `lo` is brought up when the namespace is made. */
export class CniNetwork implements PodNetwork {
  readonly #d: CniNetworkDeps;
  readonly #cache: AttachmentCache;
  readonly #default: ConfiguredNetwork;
  /** The networks of handlers with a separate directory, by that directory. */
  readonly #others: ReadonlyMap<string, ConfiguredNetwork>;
  /** Pods that are known to have nothing left, oldest first. */
  readonly #detached = new Set<string>();
  /** Pods that were attached by this process, do not run in a sandbox, and whose detaching has not begun. */
  readonly #intact = new Set<string>();

  constructor(d: CniNetworkDeps) {
    this.#d = d;
    this.#cache = new AttachmentCache(d.cacheDir);
    const networkOf = (confDir: string) =>
      new ConfiguredNetwork({ ...d, confDir, nowMs: d.nowMs ?? (() => performance.now()) });
    this.#default = networkOf(d.confDir);
    this.#others = new Map(
      (d.otherConfDirs ?? []).filter((dir) => dir !== d.confDir).map((dir) => [dir, networkOf(dir)]),
    );
  }

  /** Reads the configuration and follows its changes. To be called once, before anything is attached. Never rejects. */
  async start(): Promise<void> {
    try {
      this.#cache.sweep();
    } catch (error) {
      this.#d.log.warn({ cacheDir: this.#d.cacheDir }, `clean the cache of network attachments: ${messageOf(error)}`);
    }
    await Promise.all(this.#all().map((network) => network.start()));
  }

  /** Stops following the configuration. Attached pods stay as they are. */
  close(): void {
    for (const network of this.#all()) network.close();
  }

  /** Whether pods can be attached to the default network, as far as known. Does not wait for anything. */
  status(): NetworkStatus {
    const problem = this.#default.problem();
    return problem === undefined
      ? { ready: true, reason: "", message: "" }
      : { ready: false, reason: "NetworkPluginNotReady", message: problem };
  }

  /**
   * Attaches a pod to its network and returns its addresses, the primary one first. A failure is undone, within its own
   * deadline; what could not be undone is left for `detach`. Throws FailedPrecondition when there is no usable network,
   * InvalidArgument for wrong settings of the pod, and otherwise the plugins' errors.
   */
  async attach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<PodAddresses> {
    this.#detached.delete(pod.id);
    try {
      return await this.#attach(pod, await this.#requireNetwork(pod), signal, stage);
    } catch (error) {
      await this.#rememberIfUndone(pod.id);
      throw error;
    }
  }

  /**
   * Detaches a pod from whatever it was attached to, with the configuration and result of that time, even if the
   * configuration has been removed since. Works without the namespace (CNI_NETNS is then empty, or a stand-in, see
   * stand-in.ts) and without the cache (the current network is then used). May be repeated, which costs nothing;
   * succeeds when there is nothing to detach. Throws the plugins' errors.
   */
  async detach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<void> {
    const { attachments, damaged } = await this.#cache.list(pod.id);
    for (const [file, reason] of damaged)
      this.#d.log.warn({ pod: pod.id, file }, `cached network attachment: ${reason}`);
    if (attachments.length === 0 && this.#detached.has(pod.id)) return;
    for (const entry of attachments.length > 0 ? attachments : await this.#guess(pod))
      await this.#del(entry, pod.netnsPath, signal, stage);
    this.#rememberDetached(pod.id);
  }

  /**
   * Detaches what belongs to none of these pods, then sends the plugins the attachments that are left (GC, CNI 1.1). To
   * be called at the start, before any pod is attached. Never rejects: failures are logged, and tried again at the next
   * start.
   */
  async collectGarbage(podIds: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    await this.#orLog(this.#collectGarbage(podIds, signal));
  }

  /** CRI: UpdateRuntimeConfig. Has no effect: CNI plugins get their addresses from their own configuration. */
  updateRuntimeConfig(): void {}

  async #collectGarbage(podIds: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { attachments, damaged } = await this.#cache.list();
    for (const [file, reason] of damaged) this.#d.log.warn({ file }, `cached network attachment: ${reason}`);
    const stale = attachments.filter(({ attachment }) => !podIds.has(attachment.containerId));
    for (const entry of stale) await this.#orLog(this.#del(entry, entry.attachment.netns, signal));
    // When a file cannot be read, we do not know all valid attachments, and GC would free the addresses of the others.
    if (damaged.size > 0) return;
    const lists = new Map(this.#all().flatMap(({ list }) => (list === undefined ? [] : [[list.name, list]])));
    for (const list of lists.values()) {
      const valid = attachments.filter((entry) => !stale.includes(entry) && entry.list.name === list.name);
      await this.#orLog(
        gcNetwork(
          this.#d,
          list,
          valid.map((entry) => entry.attachment),
          signal,
        ),
      );
    }
  }

  async #attach(pod: AttachedPod, list: ConfigList, signal: AbortSignal, stage?: Stage): Promise<PodAddresses> {
    try {
      // Detaching goes on with whatever is there.
      if (this.#d.check?.refuses === true) await checkPlugins(this.#d, binariesOf(list));
      const attachment = this.#attachmentOf(pod, list);
      const d = this.#networkDeps(stage, `attach to network ${list.name}`);
      const result = await addNetwork(d, list, attachment, signal);
      const ips = await this.#ipsOrUndo(d, { list, attachment, result });
      if (pod.isSandboxed !== true) this.#intact.add(pod.id);
      return { ips };
    } catch (error) {
      throw wrapError(`attach pod ${shortId(pod.id)} to network ${list.name}`, error);
    }
  }

  async #requireNetwork(pod: AttachedPod): Promise<ConfigList> {
    try {
      return await this.#networkOf(pod).require();
    } catch (error) {
      throw wrapError(`attach pod ${shortId(pod.id)}`, error);
    }
  }

  async #ipsOrUndo(d: NetworkDeps, attached: CachedAttachment & { result: Result }): Promise<string[]> {
    try {
      return podIps(attached.result, attached.attachment.ifName);
    } catch (error) {
      try {
        await delNetwork(d, attached, AbortSignal.timeout(d.cleanupTimeoutMs));
      } catch (undoError) {
        throw new SuppressedError(undoError, error);
      }
      throw error;
    }
  }

  async #del(entry: CachedAttachment, netnsPath: string, signal: AbortSignal, stage?: Stage): Promise<void> {
    const { attachment, list } = entry;
    try {
      const hasNamespace = await isNamespace(netnsPath);
      await using standIn = hasNamespace ? undefined : await this.#standIn(entry, netnsPath, signal);
      const netns = hasNamespace || standIn !== undefined ? netnsPath : "";
      const d = this.#networkDeps(stage, `detach from network ${list.name}`);
      const del = () => delNetwork(d, { ...entry, attachment: { ...attachment, netns } }, signal);
      const isIntact = this.#intact.delete(attachment.containerId);
      if (isIntact || !hasNamespace || !needsStandIn(entry)) return await del();
      // An earlier DEL may have ended at any point. With the interface restored, the plugins find the rules that they
      // left behind. If they had left none, they fail because of that, but remove the interface again: then the second
      // DEL succeeds.
      await this.#restoreInterface(entry, netnsPath, signal);
      await del().catch(() => del());
    } catch (error) {
      throw wrapError(`detach pod ${shortId(attachment.containerId)} from network ${list.name}`, error);
    }
  }

  async #restoreInterface(entry: CachedAttachment, netnsPath: string, signal: AbortSignal): Promise<void> {
    try {
      await restoreInterface(entry, netnsPath, signal);
    } catch (error) {
      this.#d.log.debug({ pod: entry.attachment.containerId, netnsPath }, messageOf(error));
    }
  }

  /** For plugins that clean up too little without a namespace; undefined for others, or when it cannot be made. */
  async #standIn(
    entry: CachedAttachment,
    netnsPath: string,
    signal: AbortSignal,
  ): Promise<AsyncDisposable | undefined> {
    if (!needsStandIn(entry)) return undefined;
    try {
      return await makeStandIn(entry, netnsPath, signal);
    } catch (error) {
      this.#d.log.debug({ pod: entry.attachment.containerId, netnsPath }, messageOf(error));
      return undefined;
    }
  }

  /**
   * What to detach when nothing is recorded for the pod: either it was never attached, or the cache was lost. CNI DEL
   * is harmless in the first case and needed in the second. If plugins are missing, the first is likelier, and the pod
   * must not stay for ever.
   */
  async #guess(pod: AttachedPod): Promise<CachedAttachment[]> {
    const { list } = this.#networkOf(pod);
    if (list === undefined) return [];
    try {
      for (const plugin of list.plugins) await findPlugin(this.#d, plugin.type);
    } catch (error) {
      this.#d.log.warn(
        { pod: pod.id },
        `detach pod ${shortId(pod.id)}, which has no recorded attachment, from network ${list.name}: skipped: ${messageOf(error)}`,
      );
      return [];
    }
    // Without what ADD would have refused, which must not prevent the pod's removal.
    const { args, ...attachment } = this.#attachmentOf({ ...pod, annotations: {} }, list);
    return [
      { attachment: { ...attachment, args: args.filter(([, value]) => isArgument(value)) }, list, result: undefined },
    ];
  }

  #all(): ConfiguredNetwork[] {
    return [this.#default, ...this.#others.values()];
  }

  /** The default network when the directory is no longer configured; its handler runs no new pods. */
  #networkOf({ confDir }: AttachedPod): ConfiguredNetwork {
    return (confDir === undefined ? undefined : this.#others.get(confDir)) ?? this.#default;
  }

  #attachmentOf(pod: AttachedPod, list: ConfigList): Attachment {
    const declared = Object.entries(capabilityArgs(pod)).filter(([name]) =>
      list.plugins.some((plugin) => plugin.capabilities.has(name)),
    );
    return {
      containerId: pod.id,
      netns: pod.netnsPath,
      ifName,
      args: cniArgs(pod),
      capabilityArgs: Object.fromEntries(declared),
    };
  }

  #networkDeps(stage: Stage | undefined, doing: string): NetworkDeps {
    const { binDirs, exec, cleanupTimeoutMs = 60_000 } = this.#d;
    return {
      binDirs,
      exec,
      cache: this.#cache,
      cleanupTimeoutMs,
      stage: stage && ((name) => stage(`${doing}: ${name}`)),
    };
  }

  /** After a failed attach: remembers that the pod is detached if everything was undone. */
  async #rememberIfUndone(id: string): Promise<void> {
    try {
      const { attachments, damaged } = await this.#cache.list(id);
      if (attachments.length === 0 && damaged.size === 0) this.#rememberDetached(id);
    } catch {
      // Then it is not known. The caller must get the error of the attach.
    }
  }

  #rememberDetached(id: string): void {
    const [oldest] = this.#detached;
    if (oldest !== undefined && this.#detached.size >= maxDetached) {
      this.#detached.delete(oldest);
      this.#d.onForgotten?.();
    }
    this.#detached.add(id);
  }

  async #orLog(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#d.log.warn({}, `collect what stale pods left in the network: ${messageOf(error)}`);
    }
  }
}

/** An id as crictl and keelctl show it. */
function shortId(id: string): string {
  return id.slice(0, 13);
}

/** NSFS_MAGIC of linux/magic.h: the file system of a pinned namespace. */
const nsfsMagic = 0x6e736673;

/** Whether a namespace is pinned here. A pin that lost its mount is a plain file, on which plugins fail. */
async function isNamespace(path: string): Promise<boolean> {
  try {
    return path !== "" && (await statfs(path)).type === nsfsMagic;
  } catch {
    return false; // It does not exist or cannot be reached, which is the same for a plugin.
  }
}
