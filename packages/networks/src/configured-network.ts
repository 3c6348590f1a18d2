import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { readConfigDir } from "@keelson/cni/config-dir.ts";
import { type ConfigList, encodeConfigList } from "@keelson/cni/config-list.ts";
import { statusNetwork } from "@keelson/cni/network.ts";
import { findPlugin, type PluginDeps } from "@keelson/cni/plugin.ts";
import { watchDirectory } from "./conf-watch.ts";

export interface ConfiguredNetworkDeps extends PluginDeps {
  readonly log: Log;
  readonly confDir: string;
  /** A clock that only goes forward, in ms. */
  nowMs(): number;
}

/** How old an answer to `status` may be before the next one is looked for, in ms. A kubelet asks every 5 s or so. */
const freshMs = 4_000;
/** How long the plugins' STATUS may take, in ms. */
const statusTimeoutMs = 10_000;

/**
 * The network that pods are attached to: the first list in the configuration directory, followed as the directory
 * changes, and whether it works. Loading and asking happen in the background; nothing waits for a plugin but the
 * plugin's own caller.
 */
export class ConfiguredNetwork {
  readonly #d: ConfiguredNetworkDeps;
  #list: ConfigList | undefined;
  /** Why pods cannot be attached; undefined: they can. */
  #problem: string | undefined;
  #identity = "";
  #loading: Promise<void> | undefined;
  #loadAgain = false;
  #probe: AbortController | undefined;
  #lookedAtMs = -Infinity;
  #watch: Disposable | undefined;
  readonly #logged = new Set<string>();

  constructor(d: ConfiguredNetworkDeps) {
    this.#d = d;
    this.#problem = `the CNI configuration in ${d.confDir} has not been read yet`;
  }

  /** Reads the directory and follows it from now on. Never throws: what is wrong is in `problem`. */
  async start(): Promise<void> {
    this.#watch = watchDirectory(
      this.#d.confDir,
      () => void this.#load(),
      (error) => this.#logOnce(`watch ${this.#d.confDir}: ${messageOf(error)}; changes are seen some seconds later`),
    );
    await this.#load();
  }

  close(): void {
    this.#watch?.[Symbol.dispose]();
    this.#probe?.abort();
  }

  /** The list in use now, if there is one. */
  get list(): ConfigList | undefined {
    return this.#list;
  }

  /** The list in use; looks into the directory first when there is none. Throws FailedPrecondition with the reason. */
  async require(): Promise<ConfigList> {
    if (this.#list === undefined) await this.#load();
    if (this.#list !== undefined) return this.#list;
    throw new StatusError(Code.FailedPrecondition, this.#problem ?? "there is no network");
  }

  /** Why pods cannot be attached; undefined when they can. Answers at once with what is known, and has it renewed when it is old. */
  problem(): string | undefined {
    if (this.#d.nowMs() - this.#lookedAtMs > freshMs) void this.#load();
    return this.#problem;
  }

  /** Reads the directory; a call while another one reads has it read again, and waits for that. Never rejects. */
  #load(): Promise<void> {
    this.#loadAgain = true;
    this.#loading ??= this.#loadUntilQuiet().finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #loadUntilQuiet(): Promise<void> {
    while (this.#loadAgain) {
      this.#loadAgain = false;
      this.#lookedAtMs = this.#d.nowMs();
      try {
        await this.#loadOnce();
      } catch (error) {
        this.#use(undefined, `read ${this.#d.confDir}: ${messageOf(error)}`);
      }
    }
  }

  async #loadOnce(): Promise<void> {
    const { first, invalid } = await readConfigDir(this.#d.confDir);
    for (const reason of invalid.values()) this.#logOnce(reason);
    if (first === undefined) {
      const found = invalid.size === 0 ? "" : ` (not usable: ${[...invalid.values()].join("; ")})`;
      this.#use(
        undefined,
        `there is no CNI network configuration in ${this.#d.confDir}; put a .conflist there${found}`,
      );
      return;
    }
    const identity = `${first.file}\n${encodeConfigList(first.list)}`;
    if (identity !== this.#identity) {
      this.#use(first.list, `network ${first.list.name}: its plugins have not answered yet`, identity);
      this.#d.log.info(
        { file: first.file, network: first.list.name, cniVersion: first.list.cniVersion },
        "use the CNI network",
      );
    }
    // The binaries are looked for here, which is quick; a plugin's STATUS may hang and is not waited for.
    await this.#probePlugins(this.#list ?? first.list);
  }

  #use(list: ConfigList | undefined, problem: string, identity = ""): void {
    this.#probe?.abort();
    this.#probe = undefined;
    this.#list = list;
    this.#identity = identity;
    this.#problem = problem;
    if (list === undefined) this.#logOnce(problem);
    else this.#logged.clear();
  }

  async #probePlugins(list: ConfigList): Promise<void> {
    try {
      for (const type of binariesOf(list)) await findPlugin(this.#d, type);
    } catch (error) {
      this.#setProblem(list, messageOf(error));
      return;
    }
    if (list.cniVersion !== "1.1.0") this.#setProblem(list, undefined);
    else if (this.#probe === undefined) void this.#askPlugins(list);
  }

  /** One at a time: a plugin that hangs is not asked again before its time is over. Never rejects. */
  async #askPlugins(list: ConfigList): Promise<void> {
    const probe = new AbortController();
    this.#probe = probe;
    try {
      await statusNetwork(this.#d, list, AbortSignal.any([probe.signal, AbortSignal.timeout(statusTimeoutMs)]));
      if (!probe.signal.aborted) this.#setProblem(list, undefined);
    } catch (error) {
      if (!probe.signal.aborted) this.#setProblem(list, messageOf(error));
    } finally {
      if (this.#probe === probe) this.#probe = undefined;
    }
  }

  #setProblem(list: ConfigList, problem: string | undefined): void {
    if (this.#list !== list) return;
    this.#problem = problem === undefined ? undefined : `network ${list.name}: ${problem}`;
    if (this.#problem === undefined) this.#logged.clear();
    else this.#logOnce(this.#problem);
  }

  /** Until things are well again: the directory is read every few seconds, the log need not be. */
  #logOnce(message: string): void {
    if (this.#logged.has(message)) return;
    this.#logged.add(message);
    this.#d.log.warn({ confDir: this.#d.confDir }, message);
  }
}

/** The binaries that a list needs: its plugins, and the IPAM plugins that they are told to call (SPEC.md section 1, `ipam`). */
function binariesOf(list: ConfigList): Set<string> {
  const types = new Set<string>();
  for (const { type, raw } of list.plugins) {
    types.add(type);
    const ipam = raw["ipam"];
    if (
      typeof ipam === "object" &&
      ipam !== null &&
      "type" in ipam &&
      typeof ipam.type === "string" &&
      /^[^/\\\0]+$/.test(ipam.type)
    )
      types.add(ipam.type);
  }
  return types;
}
