import { statSync } from "node:fs";
import type { Log } from "@keelson/base/log.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { run } from "@keelson/linux/run.ts";
import * as v from "valibot";
import type { HandlerFacts, HostFacts } from "../plan/host-facts.ts";

/** What a runtime's answers are cut off at, in bytes; runc's is 8 KiB. */
const maxAnswerBytes = 256 * 1024;
const answerTimeoutMs = 5000;
/** How long one that gave no answer in time is not asked again. */
const retryAfterMs = 60_000;

/** https://github.com/opencontainers/runtime-spec/blob/main/features.md and features-linux.md: what of it is used. */
const featuresSchema = v.looseObject({
  ociVersionMax: v.string(),
  linux: v.nullish(v.looseObject({ namespaces: v.nullish(v.pipe(v.array(v.string()), v.maxLength(100))) })),
});

/** Whether an answer of `RUNTIME features` has user namespaces; undefined when it is no such answer. */
export function userNamespacesInFeatures(answer: string): boolean | undefined {
  try {
    const features = v.parse(featuresSchema, JSON.parse(answer));
    return features.linux?.namespaces?.includes("user") ?? false;
  } catch {
    return undefined;
  }
}

/** The same for runtimes from before that command, by their `--version`: runc learnt it in 1.1, crun in 1.8.6. */
export function userNamespacesInVersion(answer: string): boolean {
  return /^(?:crun|runc) version [1-9]/.test(answer);
}

export interface HandlerFeaturesOptions {
  readonly name: string;
  /** Absolute path of the runtime's binary. */
  readonly path: string;
  readonly args: readonly string[];
  readonly sandbox: HandlerFacts["sandbox"];
  readonly host: Pick<HostFacts, "recursiveReadOnlyMounts" | "idMapProblem">;
  readonly log: Log;
}

/** What a runtime handler can do on this machine, asked anew when its binary is another one. */
export class HandlerFeatures {
  readonly #o: HandlerFeaturesOptions;
  #binary = "";
  #userNamespaces = false;
  #asking: Promise<void> | undefined;
  #retryAtMs = 0;

  constructor(options: HandlerFeaturesOptions) {
    this.#o = options;
  }

  /** As `refresh` found it; before, the handler has no user namespaces. */
  get facts(): HandlerFacts {
    const { name, host, sandbox } = this.#o;
    return { name, recursiveReadOnlyMounts: host.recursiveReadOnlyMounts, userNamespaces: this.#userNamespaces && host.idMapProblem === "", sandbox };
  }

  /** Asks the runtime if it was not yet or is another one now. Never throws: who does not answer has no features. */
  refresh(): Promise<void> {
    const binary = identityOf(this.#o.path);
    if (binary === undefined || binary === this.#binary || performance.now() < this.#retryAtMs) return Promise.resolve();
    this.#asking ??= this.#ask(binary).finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #ask(binary: string): Promise<void> {
    try {
      this.#userNamespaces = userNamespacesInFeatures(await this.#answer("features")) ?? userNamespacesInVersion(await this.#answer("--version"));
      this.#binary = binary;
    } catch (error) {
      this.#userNamespaces = false;
      this.#retryAtMs = performance.now() + retryAfterMs;
      this.#o.log.warn({ handler: this.#o.name, err: error }, `runtime handler ${this.#o.name} does not say what it can: it is taken to have no user namespaces`);
    }
  }

  async #answer(command: string): Promise<string> {
    const { path, args } = this.#o;
    const { stdout, truncated } = await run({ file: path, args: [...args, command], env: { PATH: process.env["PATH"] }, stdoutLimitBytes: maxAnswerBytes, timeoutMs: answerTimeoutMs });
    return truncated ? "" : stdout.toString();
  }
}

/** Undefined when there is no such file. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs].join(":");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}
