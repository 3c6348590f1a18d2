import { statfs } from "node:fs/promises";
import type { Log } from "@keelson/base/log.ts";
import { messageOf, wrapError } from "@keelson/base/status.ts";
import { type Attachment, AttachmentCache, type CachedAttachment, isArgument } from "@keelson/cni/cache.ts";
import type { ConfigList } from "@keelson/cni/config-list.ts";
import { addNetwork, delNetwork, gcNetwork, type NetworkDeps } from "@keelson/cni/network.ts";
import { findPlugin, type PluginExec } from "@keelson/cni/plugin.ts";
import type { Result } from "@keelson/cni/result.ts";
import type { AttachedPod } from "./attached-pod.ts";
import { capabilityArgs, cniArgs } from "./capability-args.ts";
import { ConfiguredNetwork } from "./configured-network.ts";
import { podIps } from "./pod-ips.ts";
import type { NetworkStatus, PodAddresses, PodNetwork, Stage } from "./pod-network.ts";
import { makeStandIn, needsStandIn, restoreInterface } from "./stand-in.ts";

export interface CniNetworkDeps {
  readonly log: Log;
  /** Such as /etc/cni/net.d. */
  readonly confDir: string;
  /** Further directories that pods may name. */
  readonly otherConfDirs?: readonly string[];
  readonly binDirs: readonly string[];
  /** Where attachments are remembered; must outlive a reboot, as IP allocations do. */
  readonly cacheDir: string;
  /** `createPluginExec(process.env)`, or a fake. */
  readonly exec: PluginExec;
  /** How long undoing an ADD that failed may take, in ms; 60,000 when not given. */
  readonly cleanupTimeoutMs?: number;
  /** Told when more pods were detached than are remembered. */
  readonly onForgotten?: () => void;
  /** performance.now when not given. */
  readonly nowMs?: () => number;
}

/** The interface that a pod has, as with any other runtime. */
const ifName = "eth0";
/** Pods whose detach needs no repeating; some more than a node has. */
const maxDetached = 4096;

/** The pods' networks by CNI: which one there is, attaching and detaching pods. `lo` is the namespace's maker's business. */
export class CniNetwork implements PodNetwork {
  readonly #d: CniNetworkDeps;
  readonly #cache: AttachmentCache;
  readonly #default: ConfiguredNetwork;
  /** Those of handlers with a directory of their own, by that. */
  readonly #others: ReadonlyMap<string, ConfiguredNetwork>;
  /** Known to have nothing left, oldest first. */
  readonly #detached = new Set<string>();
  /** Attached by this daemon, in no sandbox, and not begun to be detached. */
  readonly #intact = new Set<string>();
  #podCidr = "";

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

  /** Reads the configuration and follows it from now on. Call it once, before anything is attached. Never rejects. */
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

  /** Whether pods can be attached. Answers at once from what is known. */
  status(): NetworkStatus {
    const problem = this.#default.problem();
    return problem === undefined
      ? { ready: true, reason: "", message: "" }
      : { ready: false, reason: "NetworkPluginNotReady", message: problem };
  }

  /**
   * Attaches a pod to its network: its addresses, the primary one first. What fails is undone, with a deadline of
   * its own, and what could not be undone is left for `detach`. Throws FailedPrecondition when there is no network
   * or it is not usable, InvalidArgument for what the pod asks, and else what the plugins say.
   */
  async attach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<PodAddresses> {
    this.#detached.delete(pod.id);
    try {
      return await this.#attach(pod, await this.#requireNetwork(pod), signal, stage);
    } catch (error) {
      await this.#noteIfUndone(pod.id);
      throw error;
    }
  }

  /**
   * Detaches a pod from whatever it was attached to, with the configuration and the result of then, also when
   * the configuration has been removed since. Succeeds when there is nothing to detach, the namespace is gone
   * (CNI_NETNS is then empty, or a stand-in: stand-in.ts) or the cache was lost (the current network is then asked). May be
   * repeated, which costs nothing. Throws what the plugins say.
   */
  async detach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<void> {
    const { attachments, damaged } = await this.#cache.list(pod.id);
    for (const [file, reason] of damaged)
      this.#d.log.warn({ pod: pod.id, file }, `cached network attachment: ${reason}`);
    if (attachments.length === 0 && this.#detached.has(pod.id)) return;
    for (const entry of attachments.length > 0 ? attachments : await this.#guess(pod))
      await this.#del(entry, pod.netnsPath, signal, stage);
    this.#noteDetached(pod.id);
  }

  /**
   * Detaches what belongs to none of these pods, then tells the plugins which attachments are left (GC, CNI 1.1).
   * For the start of the daemon, before any pod is attached. Never rejects: what does not work is logged, and tried
   * at the next start.
   */
  async collectGarbage(podIds: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    await this.#orLog(this.#collectGarbage(podIds, signal));
  }

  /** CRI: UpdateRuntimeConfig. Kept and shown; CNI plugins have their addresses from their own configuration. */
  updateRuntimeConfig(podCidr: string): void {
    this.#podCidr = podCidr;
  }

  /** The kubelet's pod CIDR, which may be two with a comma between; empty before it told. */
  get podCidr(): string {
    return this.#podCidr;
  }

  async #collectGarbage(podIds: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { attachments, damaged } = await this.#cache.list();
    for (const [file, reason] of damaged) this.#d.log.warn({ file }, `cached network attachment: ${reason}`);
    const stale = attachments.filter(({ attachment }) => !podIds.has(attachment.containerId));
    for (const entry of stale) await this.#orLog(this.#del(entry, entry.attachment.netns, signal));
    // With a file that cannot be read we do not know what is valid, and GC takes the address from who is not named.
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
      const attachment = this.#attachmentOf(pod, list);
      const d = this.#networkDeps(stage, `attach to network ${list.name}`);
      const result = await addNetwork(d, list, attachment, signal);
      const ips = await this.#ipsOrUndo(d, list, attachment, result);
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

  async #ipsOrUndo(d: NetworkDeps, list: ConfigList, attachment: Attachment, result: Result): Promise<string[]> {
    try {
      return podIps(result, attachment.ifName);
    } catch (error) {
      try {
        await delNetwork(d, list, attachment, result, AbortSignal.timeout(d.cleanupTimeoutMs));
      } catch (undoError) {
        throw new SuppressedError(undoError, error);
      }
      throw error;
    }
  }

  async #del(entry: CachedAttachment, netnsPath: string, signal: AbortSignal, stage?: Stage): Promise<void> {
    const { attachment, list, result } = entry;
    try {
      const hasNamespace = await isNamespace(netnsPath);
      await using standIn = hasNamespace ? undefined : await this.#standIn(entry, netnsPath, signal);
      const netns = hasNamespace || standIn !== undefined ? netnsPath : "";
      const del = () =>
        delNetwork(
          this.#networkDeps(stage, `detach from network ${list.name}`),
          list,
          { ...attachment, netns },
          result,
          signal,
        );
      const isIntact = this.#intact.delete(attachment.containerId);
      if (isIntact || !hasNamespace || !needsStandIn(entry)) return await del();
      // An earlier DEL may have ended anywhere. With the interface back the plugins find what they left; where they had
      // left nothing more of the rules they fail over that, and have removed the interface again: then they succeed.
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

  /** For plugins that clean up too little without a namespace; undefined when that is not so, or there can be none. */
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
   * Nothing is remembered of the pod: it was never attached, or the cache was lost. CNI DEL is harmless in the one case and needed
   * in the other. Without the plugins the first is likelier, and the pod must not be kept for ever.
   */
  async #guess(pod: AttachedPod): Promise<CachedAttachment[]> {
    const { list } = this.#networkOf(pod);
    if (list === undefined) return [];
    try {
      for (const plugin of list.plugins) await findPlugin(this.#d, plugin.type);
    } catch (error) {
      this.#d.log.warn(
        { pod: pod.id },
        `detach pod ${shortId(pod.id)}, of which no attachment is known, from network ${list.name}: left out: ${messageOf(error)}`,
      );
      return [];
    }
    // Without what ADD would have refused: it must not keep the pod from being taken down.
    const { args, ...attachment } = this.#attachmentOf({ ...pod, annotations: {} }, list);
    return [
      { attachment: { ...attachment, args: args.filter(([, value]) => isArgument(value)) }, list, result: undefined },
    ];
  }

  #all(): ConfiguredNetwork[] {
    return [this.#default, ...this.#others.values()];
  }

  /** A directory that is configured no more is one of a handler that runs no new pods. */
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

  /** After an attach that failed, when all of it was undone. */
  async #noteIfUndone(id: string): Promise<void> {
    try {
      const { attachments, damaged } = await this.#cache.list(id);
      if (attachments.length === 0 && damaged.size === 0) this.#noteDetached(id);
    } catch {
      // Not known, then; what made attach fail is what the caller needs to hear.
    }
  }

  #noteDetached(id: string): void {
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

/** As crictl and keelctl show ids. */
function shortId(id: string): string {
  return id.slice(0, 13);
}

/** NSFS_MAGIC of linux/magic.h: what a pinned namespace is a file of. */
const nsfsMagic = 0x6e736673;

/** Is a namespace pinned here? A pin that lost its mount is a plain file, on which plugins fail. */
async function isNamespace(path: string): Promise<boolean> {
  try {
    return path !== "" && (await statfs(path)).type === nsfsMagic;
  } catch {
    return false; // not there, or not reachable: for a plugin the same
  }
}
