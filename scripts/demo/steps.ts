import { styleText } from "node:util";

/** Adds a line to what a step prints. The first one goes beside the step, the others below it. */
export type Say = (...lines: readonly string[]) => void;

/** Runs the steps of a story one by one, and prints a line for each: a mark, its name, its time, what came of it. */
export class Steps {
  readonly #startedAtMs = performance.now();
  #failed: string | undefined;

  /** The first step that failed, if any. */
  get failed(): string | undefined {
    return this.#failed;
  }

  /** Runs `work`, and returns or throws what it does. */
  async run<T>(name: string, work: (say: Say) => Promise<T>): Promise<T> {
    const startedAtMs = performance.now();
    const ms = () => `${Math.round(performance.now() - startedAtMs)} ms`.padStart(8);
    const said: string[] = [];
    try {
      const value = await work((...lines) => void said.push(...lines));
      const [first = "", ...rest] = said;
      console.log(`  ${green("✔")} ${name.padEnd(30)} ${dim(ms())}   ${first}`);
      for (const line of rest) console.log(`      ${line}`);
      return value;
    } catch (error) {
      this.#failed ??= name;
      console.log(`  ${red("✖")} ${name.padEnd(30)} ${dim(ms())}`);
      throw error;
    }
  }

  /** The time since the first step, as text in seconds. */
  elapsed(): string {
    return `${((performance.now() - this.#startedAtMs) / 1000).toFixed(1)} s`;
  }
}

export const bold = (text: string): string => styleText("bold", text);
export const dim = (text: string): string => styleText("dim", text);
const green = (text: string): string => styleText("green", text);
export const red = (text: string): string => styleText("red", text);
