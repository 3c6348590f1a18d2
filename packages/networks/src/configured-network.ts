import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { readConfigDir } from "@keelson/cni/config-dir.ts";
import { type ConfigList, encodeConfigList } from "@keelson/cni/config-list.ts";
import { statusNetwork } from "@keelson/cni/network.ts";
import { findPlugin, type PluginDeps } from "@keelson/cni/plugin.ts";
import { watchDirectory } from "./conf-watch.ts";

/** Knows which plugins have published flaws. */
export interface PluginCheck {
  /** To be called before plugins are used. Never throws. */
  look(programs: readonly { readonly path: string }[]): Promise<void>;
  /** Why a plugin that was looked at must not be used, and what would help; undefined when it may. */
  refusal(path: string): string | undefined;
  /** Whether there is any. */
  readonly refuses: boolean;
}

export interface ConfiguredNetworkDeps extends PluginDeps {
  readonly check?: PluginCheck;
  readonly log: Log;
  readonly confDir: string;
  /** A clock that only goes forward, in ms. */
  nowMs(): number;
}

/** Finds a list's plugins. Throws FailedPrecondition when one is missing, or must not be used. */
export async function checkPlugins(d: PluginDeps & { check?: PluginCheck }, types: Iterable<string>): Promise<void> {
  const files: string[] = [];
  for (const type of types) files.push(await findPlugin(d, type));
  await d.check?.look(files.map((path) => ({ path })));
  for (const file of files) {
    const refusal = d.check?.refusal(file);
    if (refusal !== undefined) throw new StatusError(Code.FailedPrecondition, refusal);
  }
}

/** How old the known status may be before it is renewed, in ms. A kubelet asks about every 5 s. */
const freshMs = 4_000;
/** How long STATUS may take for all plugins, in ms. */
const statusTimeoutMs = 10_000;

/**
 * The network that a configuration directory describes, its first valid list, and whether that network works. Follows
 * changes of the directory. Loading it and asking the plugins happens in the background, so nobody waits for a plugin.
 */
export class ConfiguredNetwork {
  readonly #d: ConfiguredNetworkDeps;
  #list: ConfigList | undefined;
  /** Why pods cannot be attached; undefined when they can. */
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

  /** Reads the directory and follows its changes from now on. Never throws: `problem` says what is wrong. */
  async start(): Promise<void> {
    this.#watch = watchDirectory(
      this.#d.confDir,
      () => void this.#load(),
      (error) => this.#logOnce(`watch ${this.#d.confDir}: ${messageOf(error)}; changes are noticed some seconds later`),
    );
    await this.#load();
  }

  close(): void {
    this.#watch?.[Symbol.dispose]();
    this.#probe?.abort();
  }

  /** The list that is used now, if any. */
  get list(): ConfigList | undefined {
    return this.#list;
  }

  /** The list to use; if there is none, reads the directory again first. Throws FailedPrecondition with the reason. */
  async require(): Promise<ConfigList> {
    if (this.#list === undefined) await this.#load();
    if (this.#list !== undefined) return this.#list;
    throw new StatusError(Code.FailedPrecondition, this.#problem ?? "there is no network");
  }

  /**
   * Why pods cannot be attached; undefined when they can. Returns what is known, and if that is old, renews it in the
   * background.
   */
  problem(): string | undefined {
    if (this.#d.nowMs() - this.#lookedAtMs > freshMs) void this.#load();
    return this.#problem;
  }

  /**
   * Reads the directory. Called while it is being read, it has it read once more, and waits for that. Never rejects.
   */
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
    // Searching for the binaries is quick, and waited for; a plugin's STATUS may hang, and is not.
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
      await checkPlugins(this.#d, binariesOf(list));
    } catch (error) {
      this.#setProblem(list, messageOf(error));
      return;
    }
    if (list.cniVersion !== "1.1.0") this.#setProblem(list, undefined);
    else if (this.#probe === undefined) void this.#askPlugins(list);
  }

  /** One at a time: a plugin that hangs is not run again before its deadline. Never rejects. */
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

  /** Logs each problem once until everything works again, as the directory is read every few seconds. */
  #logOnce(message: string): void {
    if (this.#logged.has(message)) return;
    this.#logged.add(message);
    this.#d.log.warn({ confDir: this.#d.confDir }, message);
  }
}

/**
 * The binaries that a list needs: its plugins, and the IPAM plugins that those will call (SPEC.md section 1, `ipam`).
 */
export function binariesOf(list: ConfigList): Set<string> {
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
