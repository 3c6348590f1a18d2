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
import type { ProgramCheck, ProgramToCheck } from "./program-check.ts";
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
  /** What the binary says; empty when it does not say. */
  readonly version: string;
  /** Where the runtime keeps its own state. */
  readonly root: string;
  readonly settings: HandlerSettings;
  readonly runtime: Runtime;
  /** Updates the facts when the binary has been replaced. Never throws. */
  refreshFacts(): Promise<void>;
  /** Why it cannot create containers now, and what would help; undefined as far as is known when it can. */
  problem(): string | undefined;
  /** The part of that which is a choice of the administrator: its programs have known holes, and are refused. */
  refusal(): string | undefined;
}

/** A handler whose programs are missing. */
interface MissingHandler {
  readonly name: string;
  readonly type: "oci" | "shim";
  /** As configured. */
  readonly path: string;
  readonly problem: string;
  /** Whether the configuration has a section for it. */
  readonly isConfigured: boolean;
}

type Attempt = Handler | MissingHandler;

/** The runtime handlers of the configuration. One whose binary was missing can be used as soon as that is installed. */
export class Runtimes {
  readonly #handlers: Map<string, Handler>;
  readonly #missing: Map<string, MissingHandler>;
  readonly #retry: (name: string) => Attempt | undefined;
  #default: string | undefined;

  /** @param retry looks again for a handler that was missing. */
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
   * The handler for a new pod; "" names the default. Throws InvalidArgument for a name that is not configured,
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

  /**
   * The handler that a record names, whatever is wrong with it. Throws FailedPrecondition when it is no longer
   * configured.
   */
  handlerOf(name: string): Handler {
    const handler = this.#find(name);
    if (handler !== undefined && isHandler(handler)) return handler;
    throw new StatusError(
      Code.FailedPrecondition,
      `runtime handler ${name}: ${handler?.problem ?? "it is no longer configured; put its section back"}`,
    );
  }

  /** All handlers that can be used, the default first. */
  all(): readonly Handler[] {
    const rank = (h: Handler) => (h.name === this.#default ? 0 : 1);
    return [...this.#handlers.values()].sort((a, b) => rank(a) - rank(b));
  }

  /** The configured handlers that cannot be used. */
  missing(): readonly MissingHandler[] {
    return [...this.#missing.values()].filter((handler) => handler.isConfigured);
  }

  /**
   * To be called before facts of handlers are used; costs nothing when no binary has been replaced. Waits a second at
   * most, also for a binary that hangs.
   */
  async refreshFacts(): Promise<void> {
    for (const name of this.#missing.keys()) this.#find(name);
    const answers = Promise.all(this.all().map((handler) => handler.refreshFacts()));
    await Promise.race([answers, delay(answerWaitMs, undefined, { ref: false })]);
  }

  get defaultName(): string | undefined {
    return this.#default;
  }

  /**
   * Why the default handler cannot create containers now; undefined when it can. Looks for its programs, which may have
   * been removed since the start.
   */
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

/** How long to wait for the answers of all handlers together, in ms; they take some 20. */
const answerWaitMs = 1000;

const noRuntime = "no OCI runtime is installed: install crun or runc, or name one in [runtimes.NAME]";

function isHandler(attempt: Attempt): attempt is Handler {
  return "runtime" in attempt;
}

/** What the configuration says about runtimes. */
export interface RuntimesSettings {
  /** The container monitor: a path, or a name to look up in PATH. */
  readonly conmon: string;
  /** The handler of pods that name none; when not given, the first that is installed. */
  readonly defaultRuntime?: string | undefined;
  /** `[runtimes.NAME]`, by name. */
  readonly sections: Readonly<Record<string, HandlerSection>>;
}

export interface RuntimesOptions {
  readonly settings: RuntimesSettings;
  readonly paths: StatePath;
  readonly host: HostFacts;
  readonly cgroups: CgroupLayout;
  readonly log: Log;
  /** When it aborts, no runtime is asked for its facts any more. */
  readonly ending?: AbortSignal | undefined;
  /** Without it, no program is checked for known holes. */
  readonly check?: ProgramCheck | undefined;
}

/**
 * Finds the programs of all handlers, and logs which configured ones are missing. Throws FailedPrecondition when
 * conmon, or a program of the configured default handler, is missing.
 */
export function openRuntimes(options: RuntimesOptions): Runtimes {
  const { settings, cgroups, log } = options;
  const conmon = findBinary(settings.conmon);
  if (conmon === undefined)
    throw new StatusError(
      Code.FailedPrecondition,
      `conmon: ${settings.conmon} is not there; install the package conmon, or set the key conmon`,
    );
  const maker: Maker = { ...options, conmon };
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
  const defaultName = settings.defaultRuntime ?? defaultOf(attempts.filter(isHandler), cgroups, log);
  return new Runtimes(attempts, defaultName, retry);
}

interface Maker extends Omit<RuntimesOptions, "settings"> {
  /** Absolute path. */
  readonly conmon: string;
}

/** What the machine lacks is a result, not an error. */
function openHandler(maker: Maker, config: HandlerConfig): Attempt {
  const { name, type, isConfigured } = config;
  try {
    return makeHandler(maker, config);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    return { name, type, path: config.path, isConfigured, problem: messageOf(error) };
  }
}

/** Throws FailedPrecondition for programs and files that are missing. */
function makeHandler({ paths, host, cgroups, log, conmon, ending, check }: Maker, config: HandlerConfig): Handler {
  const { name, type, args } = config;
  const missing = (what: string, program: string, key: string) =>
    new StatusError(
      Code.FailedPrecondition,
      `its ${what} ${program} is not there; ${installHint(program)} or set runtimes.${name}.${key}`,
    );
  // A shim may be a link, and go by the name that it is called by.
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
  /** A shim has a version of its own, and is in no table. */
  const checked = (): ProgramToCheck[] =>
    programs
      .filter(([what]) => what !== "shim")
      .map(([, file]) => ({ path: file, answer: file === path ? features.answer : undefined }));
  const refusal = () =>
    checked().reduce<string | undefined>((why, file) => why ?? check?.refusal(file.path), undefined);
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
    async refreshFacts() {
      await features.refresh();
      await check?.look(checked());
    },
    problem: () => goneOf(programs) ?? features.problem ?? refusal(),
    refusal,
  };
}

/** Which of these programs has been removed. */
function goneOf(programs: readonly (readonly [what: string, path: string])[]): string | undefined {
  const gone = programs.find(([, path]) => findProgram(path) === undefined);
  return gone && `the ${gone[0]} ${gone[1]} is not there any more; ${installHint(gone[1])}`;
}

function makeRuntime(
  { paths, host, cgroups, log }: Omit<Maker, "conmon" | "ending" | "check">,
  config: HandlerConfig,
  found: { path: string; root: string; monitor: string; called: string | undefined },
): Runtime {
  const { name, args } = config;
  const { path, root, monitor, called } = found;
  const systemdCgroup = host.cgroupDriver === "systemd";
  if (config.type === "shim") {
    // The whole path: the shim may look in fewer places than we do.
    const written = called === undefined ? config.options : { ...config.options, BinaryName: called };
    const options = shimOptions(written, isRuncShim(path) ? { root, systemdCgroup } : undefined);
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

/** The default handler where the configuration names none. */
function defaultOf(handlers: readonly Handler[], cgroups: CgroupLayout, log: Log): string | undefined {
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

/** Controllers that a hybrid host has on its v2 tree; crun refuses to run with any. */
function strayV2Controllers(cgroups: CgroupLayout): string[] {
  if (cgroups.kind !== "hybrid") return [];
  return cgroups.hierarchies
    .filter((h) => h.version === 2)
    .flatMap((h) => readFileSync(join(h.dir, "cgroup.controllers"), "utf8").split(/\s+/))
    .filter((c) => c !== "");
}
