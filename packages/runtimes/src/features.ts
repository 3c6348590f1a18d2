import { statSync } from "node:fs";
import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { run } from "@keelson/linux/run.ts";
import type { HandlerFacts, HostFacts } from "@keelson/plan/host-facts.ts";
import * as v from "valibot";
import { installHint } from "./find-program.ts";
import { type HandlerSection, isRunsc } from "./handler-section.ts";

/** How much of a runtime's answer is read, in bytes; runc's has 8 KiB. */
const maxAnswerBytes = 256 * 1024;
/** How much of what it says about itself is kept, in characters. */
const maxVersionAnswer = 4096;
const defaultAnswerTimeoutMs = 5000;
/** How long to wait before asking again a runtime that did not answer. */
const retryAfterMs = 60_000;

/**
 * The part that we use of https://github.com/opencontainers/runtime-spec/blob/main/features.md and features-linux.md.
 */
const featuresSchema = v.looseObject({
  ociVersionMax: v.string(),
  linux: v.nullish(v.looseObject({ namespaces: v.nullish(v.pipe(v.array(v.string()), v.maxLength(100))) })),
});

/** Whether an answer of `RUNTIME features` has user namespaces; undefined for another kind of answer. */
export function userNamespacesInFeatures(answer: string): boolean | undefined {
  try {
    const features = v.parse(featuresSchema, JSON.parse(answer));
    return features.linux?.namespaces?.includes("user") ?? false;
  } catch {
    return undefined;
  }
}

/** The same for runtimes from before that command, by their `--version`: runc has it since 1.1, crun since 1.8.6. */
export function userNamespacesInVersion(answer: string): boolean {
  return /^(?:crun|runc) version [1-9]/.test(answer);
}

/** The version in what a runtime or a shim prints about itself; empty when there is none. */
export function versionIn(answer: string): string {
  return /\bversion:?\s+v?((?:release-)?\d[-\w.~+]{0,63})/i.exec(answer.slice(0, maxVersionAnswer))?.[1] ?? "";
}

export interface HandlerFeaturesOptions {
  readonly name: string;
  readonly type: "oci" | "shim";
  /** Absolute path of the runtime's or shim's binary. */
  readonly path: string;
  readonly args: readonly string[];
  /** The OCI runtime that has the features: `path`, or what a shim calls; undefined where there is none. */
  readonly runtime: string | undefined;
  /** What the configuration declares, which wins over the runtime's answers. */
  readonly declared: HandlerSection["features"];
  readonly sandbox: HandlerFacts["sandbox"];
  readonly host: Pick<HostFacts, "recursiveReadOnlyMounts" | "idMapProblem">;
  readonly log: Log;
  /** How long each answer may take, in ms; 5,000 when not given. */
  readonly answerTimeoutMs?: number | undefined;
  /** When it aborts, the answers are no longer wanted. */
  readonly ending?: AbortSignal | undefined;
}

interface Known {
  /** Identifies the binaries that were asked. */
  readonly identity: string;
  /** The beginning of what it says about itself. */
  readonly answer: string;
  readonly userNamespaces: boolean;
  /** Why the binary cannot be run; undefined when it can. */
  readonly problem: string | undefined;
}

/** What a runtime handler is and can do on this machine; asked again when its binary has been replaced. */
export class HandlerFeatures {
  readonly #o: HandlerFeaturesOptions;
  #known: Known = { identity: "", answer: "", userNamespaces: false, problem: undefined };
  #asking: Promise<void> | undefined;
  #retryAtMs = 0;

  constructor(options: HandlerFeaturesOptions) {
    this.#o = options;
  }

  /** As `refresh` found them; before that, the handler has no user namespaces. */
  get facts(): HandlerFacts {
    const { name, runtime, declared, sandbox, host } = this.#o;
    const userNamespaces = declared.user_namespaces ?? this.#known.userNamespaces;
    // We make such mounts, for runtimes that open files on this machine; a guest makes its own.
    const recursiveReadOnlyMounts = declared.recursive_read_only_mounts ?? runtime !== undefined;
    return {
      name,
      recursiveReadOnlyMounts: recursiveReadOnlyMounts && host.recursiveReadOnlyMounts,
      userNamespaces: userNamespaces && host.idMapProblem === "",
      sandbox,
      ...lacksIn(this.#o),
      ...(runtime !== undefined && isRunsc(runtime) ? { readOnlyIsRecursive: true as const } : {}),
    };
  }

  /** Empty when it does not say. */
  get version(): string {
    return versionIn(this.#known.answer);
  }

  /** The beginning of what it says about itself; undefined when it has not answered. */
  get answer(): string | undefined {
    return this.#known.identity === "" ? undefined : this.#known.answer;
  }

  /** Why it cannot be run; undefined as far as is known when it can. */
  get problem(): string | undefined {
    return this.#known.problem;
  }

  /**
   * Asks the runtime, if that was not done yet or it has been replaced. Never throws: a runtime that does not answer
   * has no features, and is asked again from time to time, which nobody waits for.
   */
  refresh(): Promise<void> {
    const identity = this.#identity();
    if (identity === undefined || identity === this.#known.identity) return Promise.resolve();
    if (performance.now() < this.#retryAtMs) return Promise.resolve();
    this.#asking ??= this.#ask(identity).finally(() => (this.#asking = undefined));
    return this.#known.problem === undefined ? this.#asking : Promise.resolve();
  }

  #identity(): string | undefined {
    const of = [this.#o.path, ...(this.#o.runtime === undefined ? [] : [this.#o.runtime])].map(identityOf);
    return of.includes(undefined) ? undefined : of.join(" ");
  }

  async #ask(identity: string): Promise<void> {
    const { type, name, path, args, runtime, ending } = this.#o;
    try {
      const asked = type === "oci" ? answerOf(path, [...args, "--version"], this.#o) : this.#versionOfShim();
      const [own, called] = await Promise.all([asked, runtime === undefined ? "" : this.#featuresOf(runtime, asked)]);
      const userNamespaces = userNamespacesInFeatures(called) ?? userNamespacesInVersion(called);
      this.#known = { identity, answer: own.slice(0, maxVersionAnswer), userNamespaces, problem: undefined };
    } catch (error) {
      if (ending?.aborted === true) return;
      this.#retryAtMs = performance.now() + retryAfterMs;
      const problem = messageOf(error);
      const isNew = problem !== this.#known.problem;
      this.#known = { identity: "", answer: "", userNamespaces: false, problem };
      if (isNew) this.#o.log.warn({ handler: name, err: error }, `runtime handler ${name}: ${problem}`);
    }
  }

  /** What a shim answers to `-v`, as containerd's do, or, when that has no version, to `--version`, as Kata's does. */
  async #versionOfShim(): Promise<string> {
    const { path } = this.#o;
    const answer = await answerOf(path, ["-v"], this.#o);
    if (versionIn(answer) !== "") return answer;
    const other = await answerOf(path, ["--version"], this.#o).catch(() => "");
    return versionIn(other) === "" ? answer : other;
  }

  /** What the runtime answers to `features`, or, when it does not know that, to `--version`. */
  async #featuresOf(runtime: string, ownVersion: Promise<string>): Promise<string> {
    const { path, args } = this.#o;
    const isOwn = runtime === path;
    const features = await answerOf(runtime, [...(isOwn ? args : []), "features"], this.#o);
    if (userNamespacesInFeatures(features) !== undefined) return features;
    return isOwn ? ownVersion : answerOf(runtime, ["--version"], this.#o);
  }
}

/**
 * What a program prints, whatever its exit code. Throws FailedPrecondition, naming it, when it cannot be run, crashes
 * or hangs.
 */
async function answerOf(
  file: string,
  args: readonly string[],
  {
    answerTimeoutMs: timeoutMs = defaultAnswerTimeoutMs,
    ending,
  }: Pick<HandlerFeaturesOptions, "answerTimeoutMs" | "ending">,
): Promise<string> {
  const question = args.at(-1);
  let result;
  try {
    result = await run(
      { file, args, env: { PATH: process.env["PATH"] }, stdoutLimitBytes: maxAnswerBytes, timeoutMs },
      ending,
    );
  } catch (error) {
    const isHung = error instanceof DOMException && error.name === "TimeoutError";
    const what = isHung
      ? `did not answer ${question} within ${timeoutMs / 1000} s`
      : `cannot be executed: ${messageOf(error)}`;
    throw new StatusError(Code.FailedPrecondition, `${file} ${what}; ${installHint(file)}`, error);
  }
  if (result.signal !== null)
    throw new StatusError(
      Code.FailedPrecondition,
      `${file} ${question} was ended by ${result.signal}; ${installHint(file)}`,
    );
  return result.truncated ? "" : result.stdout.toString();
}

/** undefined when there is no such file. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs].join(":");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/**
 * Shims of virtual machines ignore what they cannot do: the pod then looks Ready and has a loopback device alone, or sees
 * its own processes only. Of devices some take a few; those that do not say so.
 */
function lacksIn({ type, sandbox, declared }: HandlerFeaturesOptions): Pick<HandlerFacts, "lacks"> {
  const isGuest = type === "shim" && sandbox === "container";
  const lacks = {
    ...((declared.host_network ?? !isGuest) ? {} : { hostNetwork: true as const }),
    ...((declared.host_pid ?? !isGuest) ? {} : { hostPid: true as const }),
    ...((declared.host_devices ?? true) ? {} : { hostDevices: true as const }),
  };
  return Object.keys(lacks).length === 0 ? {} : { lacks };
}
