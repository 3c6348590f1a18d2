import { accessSync, constants, readFileSync, realpathSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { CgroupLayout } from "@keelson/linux/cgroup.ts";
import { builtInRuntimes } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { exitsDir, type Paths, runtimeRoot } from "../paths.ts";
import type { HandlerFacts, HostFacts } from "../plan/host-facts.ts";
import { HandlerFeatures } from "./features.ts";
import { OciRuntime } from "./oci.ts";
import type { Runtime } from "./runtime.ts";

/** What a privileged container has of the host's devices: nodes of all and their use, only their use, or no more than others. */
export type PrivilegedDevices = "all" | "allowed" | "as others";

/** A handler that pods can name. */
export interface Handler {
  readonly name: string;
  /** Absolute path of the binary. */
  readonly path: string;
  readonly facts: HandlerFacts;
  /** Brings the facts up to date when the binary has been replaced. Never throws. */
  refreshFacts(): Promise<void>;
  readonly runtime: Runtime;
  readonly privilegedDevices: PrivilegedDevices;
}

/** The runtime handlers of the configuration whose binaries are there. */
export class Runtimes {
  readonly #handlers: ReadonlyMap<string, Handler>;
  readonly #missing: ReadonlyMap<string, string>;
  readonly #default: string | undefined;
  readonly #isThere: (path: string) => boolean;
  readonly #conmon: string;

  /** `isThere`: whether a program can be executed now; tests have none. */
  constructor(handlers: readonly Handler[], missing: ReadonlyMap<string, string>, defaultName: string | undefined, conmon = "conmon", isThere: (path: string) => boolean = () => true) {
    this.#handlers = new Map(handlers.map((h) => [h.name, h]));
    this.#missing = missing;
    this.#default = defaultName;
    this.#conmon = conmon;
    this.#isThere = isThere;
  }

  /** The handler of a pod: "" is the default. Throws InvalidArgument for a name that is not configured, FailedPrecondition for a missing binary. */
  handler(name: string): Handler {
    const wanted = name === "" ? this.#default : name;
    if (wanted === undefined) throw new StatusError(Code.FailedPrecondition, `no OCI runtime is installed: install crun or runc, or name one in [runtimes.NAME]`);
    const handler = this.#handlers.get(wanted);
    if (handler !== undefined) return handler;
    const missing = this.#missing.get(wanted);
    if (missing !== undefined) throw new StatusError(Code.FailedPrecondition, `runtime handler ${wanted}: ${missing}`);
    const known = [...this.#handlers.keys()].join(", ") || "none";
    throw new StatusError(Code.InvalidArgument, `runtime handler ${JSON.stringify(name)} is not configured; there are: ${known}`);
  }

  /** The handler that a record names. Throws FailedPrecondition when the configuration has it no more. */
  handlerOf(name: string): Handler {
    const handler = this.#handlers.get(name);
    if (handler === undefined) throw new StatusError(Code.FailedPrecondition, `runtime handler ${name}: ${this.#missing.get(name) ?? "it is no longer configured; put its section back"}`);
    return handler;
  }

  /** All that can be used, the default first. */
  all(): readonly Handler[] {
    const rank = (h: Handler) => (h.name === this.#default ? 0 : 1);
    return [...this.#handlers.values()].sort((a, b) => rank(a) - rank(b));
  }

  /** Before facts of handlers count; costs nothing when no binary has been replaced. */
  async refreshFacts(): Promise<void> {
    await Promise.all(this.all().map((handler) => handler.refreshFacts()));
  }

  get defaultName(): string | undefined {
    return this.#default;
  }

  /** Why the default handler can make no container now; undefined when it can. Looks for the programs, which may have been removed since the start. */
  problem(): string | undefined {
    if (this.#default === undefined) return "no OCI runtime is installed: install crun or runc, or name one in [runtimes.NAME]";
    if (!this.#isThere(this.#conmon)) return `the monitor ${this.#conmon} is not there any more; install the package conmon again`;
    const { path } = this.handlerOf(this.#default);
    return this.#isThere(path) ? undefined : `the OCI runtime ${path} is not there any more; install it again`;
  }
}

/**
 * Finds the binaries of all handlers; one that the file configures and that is missing is logged.
 * Throws FailedPrecondition when conmon or the file's default_runtime is missing.
 */
export function openRuntimes(config: Config, paths: Paths, host: HostFacts, cgroups: CgroupLayout, log: Log): Runtimes {
  const conmon = findBinary(config.conmon);
  if (conmon === undefined) throw new StatusError(Code.FailedPrecondition, `conmon: ${config.conmon} is not there; install the package conmon, or set the key conmon`);
  const sections = new Map(Object.entries({ ...builtInSections(config), ...config.runtimes }));
  const missing = new Map<string, string>();
  const handlers: Handler[] = [];
  for (const [name, section] of sections) {
    const path = findBinary(section.path);
    if (path === undefined) {
      const problem = `its binary ${section.path} is not there; install it or set runtimes.${name}.path`;
      missing.set(name, problem);
      if (name === config.default_runtime) throw new StatusError(Code.FailedPrecondition, `default_runtime ${name}: ${problem}`);
      if (Object.hasOwn(config.runtimes, name)) log.warn({ handler: name }, `runtime handler ${name}: ${problem}`);
      continue;
    }
    const root = section.root ?? runtimeRoot(paths, name);
    const systemdCgroup = host.cgroupDriver === "systemd";
    const runtime = new OciRuntime({ name, path, root, args: section.args, conmon, exitsDir: exitsDir(paths), systemdCgroup, cgroups, log });
    const features = new HandlerFeatures({ name, path, args: section.args, sandbox: "none", host, log });
    handlers.push({
      name,
      path,
      runtime,
      get facts() {
        return features.facts;
      },
      refreshFacts: () => features.refresh(),
      privilegedDevices: privilegedDevicesOf(section),
    });
  }
  return new Runtimes(handlers, missing, chooseDefault(config, handlers, cgroups, log), conmon, (path) => findBinary(path) !== undefined);
}

/** containerd's and CRI-O's switches, for runtimes whose containers cannot have the host's devices. */
function privilegedDevicesOf(section: Config["runtimes"][string]): PrivilegedDevices {
  if (!section.privileged_without_host_devices) return "all";
  return section.privileged_without_host_devices_all_devices_allowed ? "allowed" : "as others";
}

function builtInSections(config: Config): Config["runtimes"] {
  const names = builtInRuntimes.filter((name) => !Object.hasOwn(config.runtimes, name));
  return Object.fromEntries(names.map((name) => [name, { type: "oci" as const, path: name, args: [], privileged_without_host_devices: false, privileged_without_host_devices_all_devices_allowed: false }]));
}

function chooseDefault(config: Config, handlers: readonly Handler[], cgroups: CgroupLayout, log: Log): string | undefined {
  if (config.default_runtime !== undefined) return config.default_runtime;
  const present = builtInRuntimes.filter((name) => handlers.some((h) => h.name === name));
  const stray = strayV2Controllers(cgroups);
  if (present[0] === "crun" && present.length > 1 && stray.length > 0) {
    log.warn(
      { controllers: stray },
      "crun refuses cgroups v1 with controllers on a v2 tree beside it, so runc is the default runtime; mount these controllers as v1 to use crun",
    );
    return present[1];
  }
  return present[0] ?? handlers[0]?.name;
}

/** Controllers that a hybrid host left on its v2 tree; crun calls for dropping them all. */
function strayV2Controllers(cgroups: CgroupLayout): string[] {
  if (cgroups.kind !== "hybrid") return [];
  return cgroups.hierarchies.filter((h) => h.version === 2).flatMap((h) => readFileSync(join(h.dir, "cgroup.controllers"), "utf8").split(/\s+/)).filter((c) => c !== "");
}

/** The absolute path of a program given by path or name. */
export function findBinary(pathOrName: string): string | undefined {
  const candidates = pathOrName.includes("/")
    ? [pathOrName]
    : [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin", "/usr/bin"].map((dir) => join(dir, pathOrName));
  for (const candidate of candidates) {
    try {
      accessSync(candidate, constants.X_OK);
      return realpathSync(candidate);
    } catch {
      // Not this one.
    }
  }
  return undefined;
}
