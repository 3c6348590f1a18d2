import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { CgroupLayout } from "@keelson/linux/cgroup.ts";
import type { HandlerFacts, HostFacts } from "@keelson/plan/host-facts.ts";
import { Conmon } from "./conmon.ts";
import { HandlerFeatures } from "./features.ts";
import { findBinary, findProgram, installHint } from "./find-program.ts";
import {
  builtInRuntimes,
  type HandlerConfig,
  type HandlerSection,
  handlersOf,
  isRuncShim,
  isRunsc,
} from "./handler-section.ts";
import { type HandlerSettings, settingsOf } from "./handler-settings.ts";
import { OciRuntime } from "./oci.ts";
import { RunscRuntime } from "./runsc.ts";
import { exitsDir, runtimeRoot, shimAddress, shimDir, type StatePath } from "./runtime-paths.ts";
import type { Runtime } from "./runtime.ts";
import { ShimRuntime } from "./shim.ts";
import { shimOptions } from "./shim/shim-options.ts";

/** A handler that pods can name. */
export interface Handler {
  readonly name: string;
  readonly type: "oci" | "shim";
  /** Absolute path of the binary. */
  readonly path: string;
  readonly facts: HandlerFacts;
  /** As the binary tells; empty when it does not. */
  readonly version: string;
  /** Where the runtime keeps its own state. */
  readonly root: string;
  readonly settings: HandlerSettings;
  readonly runtime: Runtime;
  /** Brings the facts up to date when the binary has been replaced. Never throws. */
  refreshFacts(): Promise<void>;
  /** Why it can make no container now, with what would help; undefined as far as is known when it can. */
  problem(): string | undefined;
}

/** A handler that the configuration has and the machine has not. */
export interface MissingHandler {
  readonly name: string;
  readonly type: "oci" | "shim";
  /** As configured. */
  readonly path: string;
  readonly problem: string;
  /** The configuration has a section of it. */
  readonly isConfigured: boolean;
}

type Attempt = Handler | MissingHandler;

/** The runtime handlers of the configuration. One whose binary was missing is there as soon as that is installed. */
export class Runtimes {
  readonly #handlers: Map<string, Handler>;
  readonly #missing: Map<string, MissingHandler>;
  readonly #retry: (name: string) => Attempt | undefined;
  #default: string | undefined;

  /** `retry`: looks again for one that was missing; tests have none. */
  constructor(
    attempts: readonly Attempt[],
    defaultName: string | undefined,
    retry: (name: string) => Attempt | undefined = () => undefined,
  ) {
    this.#handlers = new Map(attempts.filter(isHandler).map((h) => [h.name, h]));
    this.#missing = new Map(attempts.filter((h) => !isHandler(h)).map((h) => [h.name, h as MissingHandler]));
    this.#default = defaultName;
    this.#retry = retry;
  }

  /**
   * The handler of a pod that is to be run: "" is the default. Throws InvalidArgument for a name that is not configured,
   * FailedPrecondition for a binary that is missing or cannot be run.
   */
  handler(name: string): Handler {
    const wanted = name === "" ? this.#default : name;
    if (wanted === undefined) throw new StatusError(Code.FailedPrecondition, noRuntime);
    const handler = this.#find(wanted);
    if (handler === undefined) {
      const known = [...this.#handlers.keys()].join(", ") || "none";
      throw new StatusError(
        Code.InvalidArgument,
        `runtime handler ${JSON.stringify(name)} is not configured; there are: ${known}`,
      );
    }
    const problem = isHandler(handler) ? handler.problem() : handler.problem;
    if (problem === undefined) return handler as Handler;
    throw new StatusError(Code.FailedPrecondition, `runtime handler ${wanted}: ${problem}`);
  }

  /** The handler that a record names, whatever is wrong with it. Throws FailedPrecondition when the configuration has it no more. */
  handlerOf(name: string): Handler {
    const handler = this.#find(name);
    if (handler !== undefined && isHandler(handler)) return handler;
    throw new StatusError(
      Code.FailedPrecondition,
      `runtime handler ${name}: ${handler?.problem ?? "it is no longer configured; put its section back"}`,
    );
  }

  /** All that can be used, the default first. */
  all(): readonly Handler[] {
    const rank = (h: Handler) => (h.name === this.#default ? 0 : 1);
    return [...this.#handlers.values()].sort((a, b) => rank(a) - rank(b));
  }

  /** Those that cannot, and that somebody may be looking for. */
  missing(): readonly MissingHandler[] {
    return [...this.#missing.values()].filter((handler) => handler.isConfigured);
  }

  /** Before facts of handlers count; costs nothing when no binary has been replaced. One that hangs is waited for no longer than a second. */
  async refreshFacts(): Promise<void> {
    for (const name of this.#missing.keys()) this.#find(name);
    const answers = Promise.all(this.all().map((handler) => handler.refreshFacts()));
    await Promise.race([answers, delay(answerWaitMs, undefined, { ref: false })]);
  }

  get defaultName(): string | undefined {
    return this.#default;
  }

  /** Why the default handler can make no container now; undefined when it can. Looks for the programs, which may have been removed since the start. */
  problem(): string | undefined {
    return this.#default === undefined ? noRuntime : this.handlerOf(this.#default).problem();
  }

  /** Looks again for one that was missing. */
  #find(name: string): Attempt | undefined {
    const handler = this.#handlers.get(name);
    if (handler !== undefined) return handler;
    const missing = this.#missing.get(name);
    const found = missing && this.#retry(name);
    if (found === undefined) return missing;
    if (!isHandler(found)) {
      this.#missing.set(name, found);
      return found;
    }
    this.#missing.delete(name);
    this.#handlers.set(name, found);
    this.#default ??= name;
    return found;
  }
}

/** How long all handlers together are waited for, in ms; they take some 20. */
const answerWaitMs = 1000;

const noRuntime = "no OCI runtime is installed: install crun or runc, or name one in [runtimes.NAME]";

function isHandler(attempt: Attempt): attempt is Handler {
  return "runtime" in attempt;
}

/** What the configuration says of runtimes. */
export interface RuntimesSettings {
  /** The container monitor: a path, or a name that is looked up in PATH. */
  readonly conmon: string;
  /** The handler of pods that name none; without it the first that is installed. */
  readonly defaultRuntime?: string | undefined;
  /** `[runtimes.NAME]`, by name. */
  readonly sections: Readonly<Record<string, HandlerSection>>;
}

/**
 * Finds the binaries of all handlers; one that the file configures and that is missing is logged.
 * Throws FailedPrecondition when conmon or what the file's default_runtime needs is missing. When `ending` aborts, no
 * runtime is asked any more.
 */
export function openRuntimes(
  settings: RuntimesSettings,
  paths: StatePath,
  host: HostFacts,
  cgroups: CgroupLayout,
  log: Log,
  ending?: AbortSignal,
): Runtimes {
  const conmon = findBinary(settings.conmon);
  if (conmon === undefined)
    throw new StatusError(
      Code.FailedPrecondition,
      `conmon: ${settings.conmon} is not there; install the package conmon, or set the key conmon`,
    );
  const maker = { paths, host, cgroups, log, conmon, ending };
  const configs = handlersOf(settings.sections);
  const attempts = configs.map((handler) => openHandler(maker, handler));
  for (const attempt of attempts) {
    if (isHandler(attempt)) continue;
    if (attempt.name === settings.defaultRuntime)
      throw new StatusError(Code.FailedPrecondition, `default_runtime ${attempt.name}: ${attempt.problem}`);
    if (attempt.isConfigured)
      log.warn({ handler: attempt.name }, `runtime handler ${attempt.name}: ${attempt.problem}`);
  }
  const retry = (name: string) =>
    openHandler(
      maker,
      configs.find((handler) => handler.name === name)!,
    );
  return new Runtimes(attempts, chooseDefault(settings, attempts.filter(isHandler), cgroups, log), retry);
}

interface Maker {
  readonly paths: StatePath;
  readonly host: HostFacts;
  readonly cgroups: CgroupLayout;
  readonly log: Log;
  readonly conmon: string;
  readonly ending: AbortSignal | undefined;
}

/** Never throws for what the machine lacks. */
function openHandler(maker: Maker, config: HandlerConfig): Attempt {
  const { name, type, isConfigured } = config;
  try {
    return makeHandler(maker, config);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    return { name, type, path: config.path, isConfigured, problem: messageOf(error) };
  }
}

/** Throws FailedPrecondition for programs and files that are not there. */
function makeHandler({ paths, host, cgroups, log, conmon, ending }: Maker, config: HandlerConfig): Handler {
  const { name, type, args } = config;
  const missing = (what: string, program: string, key: string) =>
    new StatusError(
      Code.FailedPrecondition,
      `its ${what} ${program} is not there; ${installHint(program)} or set runtimes.${name}.${key}`,
    );
  // A shim may be called by the name of a link to it.
  const path = type === "oci" ? findBinary(config.path) : findProgram(config.path);
  if (path === undefined) throw missing("binary", config.path, "path");
  const monitor = config.monitor === undefined ? conmon : findBinary(config.monitor);
  if (monitor === undefined) throw missing("monitor", config.monitor!, "monitor");
  const called = type === "oci" ? path : calledRuntime(config);
  const settings = settingsOf(config);
  const root = config.root ?? runtimeRoot(paths, name);
  const runtime = makeRuntime({ paths, host, cgroups, log }, config, { path, root, monitor, called });
  const features = new HandlerFeatures({
    name,
    type,
    path,
    args,
    runtime: called,
    declared: config.features,
    sandbox: config.sandbox,
    host,
    log,
    ending,
  });
  const programs: [what: string, path: string][] =
    type === "oci"
      ? [
          ["monitor", monitor],
          ["runtime", path],
        ]
      : [["shim", path], ...(called === undefined ? [] : [["runtime", called] as [string, string]])];
  return {
    name,
    type,
    path,
    root,
    settings,
    runtime,
    get facts() {
      return features.facts;
    },
    get version() {
      return features.version;
    },
    refreshFacts: () => features.refresh(),
    problem: () => goneOf(programs) ?? features.problem,
  };
}

/** Which of these programs was there and is not now. */
function goneOf(programs: readonly (readonly [what: string, path: string])[]): string | undefined {
  const gone = programs.find(([, path]) => findProgram(path) === undefined);
  return gone && `the ${gone[0]} ${gone[1]} is not there any more; ${installHint(gone[1])}`;
}

function makeRuntime(
  { paths, host, cgroups, log }: Omit<Maker, "conmon" | "ending">,
  config: HandlerConfig,
  found: { path: string; root: string; monitor: string; called: string | undefined },
): Runtime {
  const { name, args } = config;
  const { path, root, monitor, called } = found;
  const systemdCgroup = host.cgroupDriver === "systemd";
  if (config.type === "shim") {
    // By its path: the shim may look in fewer places than we do.
    const written = called === undefined ? config.options : { ...config.options, BinaryName: called };
    const options = shimOptions(written, isRuncShim(path), { root, systemdCgroup });
    return new ShimRuntime({
      name,
      path,
      stateDir: shimDir(paths, name),
      address: shimAddress(paths),
      options,
      hasHostProcesses: config.sandbox === "none",
      log,
    });
  }
  const options = { name, path, root, args, conmon: new Conmon(monitor, exitsDir(paths)), systemdCgroup };
  return isRunsc(config.path) ? new RunscRuntime({ ...options, log }) : new OciRuntime({ ...options, cgroups });
}

/** The OCI runtime behind a shim of runc's kind. Throws FailedPrecondition when it is not there. */
function calledRuntime({ name, path, options }: HandlerConfig): string | undefined {
  if (!isRuncShim(path)) return undefined;
  const binary = (options["BinaryName"] as string | undefined) ?? "runc";
  const found = findBinary(binary);
  if (found === undefined)
    throw new StatusError(
      Code.FailedPrecondition,
      `its OCI runtime ${binary} is not there; ${installHint(binary)} or set runtimes.${name}.options.BinaryName`,
    );
  return found;
}

function chooseDefault(
  { defaultRuntime }: RuntimesSettings,
  handlers: readonly Handler[],
  cgroups: CgroupLayout,
  log: Log,
): string | undefined {
  if (defaultRuntime !== undefined) return defaultRuntime;
  const present = builtInRuntimes.filter((name) => handlers.some((h) => h.name === name));
  const stray = strayV2Controllers(cgroups);
  if (present[0] === "crun" && present.includes("runc") && stray.length > 0) {
    log.warn(
      { controllers: stray },
      "crun refuses cgroups v1 with controllers on a v2 tree beside it, so runc is the default runtime; mount these controllers as v1 to use crun",
    );
    return "runc";
  }
  return present[0] ?? handlers[0]?.name;
}

/** Controllers that a hybrid host left on its v2 tree; crun calls for dropping them all. */
function strayV2Controllers(cgroups: CgroupLayout): string[] {
  if (cgroups.kind !== "hybrid") return [];
  return cgroups.hierarchies
    .filter((h) => h.version === 2)
    .flatMap((h) => readFileSync(join(h.dir, "cgroup.controllers"), "utf8").split(/\s+/))
    .filter((c) => c !== "");
}
