import { BeneathLooker } from "@keelson/linux/look-beneath.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { type CommandProblem, commandProblem } from "./command-problem.ts";

/** How long a container's files may take to say what is wrong with its command, in ms. A disk needs a few. */
const answerTimeoutMs = 3000;

/**
 * How many processes may look at the same time. Those that a dead file system holds stay, and once there are so many,
 * failures are no longer explained.
 */
const maxLookers = 64;

/**
 * Finds out what is wrong with commands without touching their files: they may be on a volume whose server is gone, so
 * a process for each command looks, and is left behind when it gets no answer in time.
 */
export class CommandCheck {
  readonly #newLooker: (signal: AbortSignal) => BeneathLooker;
  readonly #timeoutMs: number;
  #lookers = 0;

  /** The parameters are for tests. */
  constructor(newLooker = (signal: AbortSignal) => new BeneathLooker(signal), timeoutMs = answerTimeoutMs) {
    this.#newLooker = newLooker;
    this.#timeoutMs = timeoutMs;
  }

  /** Undefined also when that cannot be found out; never rejects, since this only explains another failure. */
  async problem(spec: Spec, arch: string, otherFormats: boolean): Promise<CommandProblem | undefined> {
    if (this.#lookers >= maxLookers) return undefined;
    this.#lookers += 1;
    let looker: BeneathLooker | undefined;
    try {
      looker = this.#newLooker(AbortSignal.timeout(this.#timeoutMs));
      void looker.ended.then(() => (this.#lookers -= 1));
      return await commandProblem(looker, spec, arch, otherFormats);
    } catch {
      // It could not be started.
      if (looker === undefined) this.#lookers -= 1;
      return undefined;
    } finally {
      looker?.[Symbol.dispose]();
    }
  }
}
