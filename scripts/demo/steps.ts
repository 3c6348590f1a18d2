import { styleText } from "node:util";

/** Runs the steps of a story one by one and writes a line for each: a mark, what it was, its time, what came of it. */
export class Steps {
  readonly #startedAtMs = performance.now();
  #failed: string | undefined;

  /** The step that failed first, if any did. */
  get failed(): string | undefined {
    return this.#failed;
  }

  /** Runs `work`. The first line it returns goes beside the step, the others below. Rethrows its error. */
  async run<T>(name: string, work: () => Promise<{ value: T; lines: readonly string[] }>): Promise<T> {
    const startedAtMs = performance.now();
    const ms = () => `${Math.round(performance.now() - startedAtMs)} ms`.padStart(8);
    try {
      const { value, lines } = await work();
      const [first = "", ...rest] = lines;
      console.log(`  ${green("✔")} ${name.padEnd(30)} ${dim(ms())}   ${first}`);
      for (const line of rest) console.log(`      ${line}`);
      return value;
    } catch (error) {
      this.#failed ??= name;
      console.log(`  ${red("✖")} ${name.padEnd(30)} ${dim(ms())}`);
      throw error;
    }
  }

  /** Seconds since the first step, as text. */
  elapsed(): string {
    return `${((performance.now() - this.#startedAtMs) / 1000).toFixed(1)} s`;
  }
}

export const bold = (text: string): string => styleText("bold", text);
export const dim = (text: string): string => styleText("dim", text);
export const green = (text: string): string => styleText("green", text);
export const red = (text: string): string => styleText("red", text);
