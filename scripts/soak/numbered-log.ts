import { createReadStream } from "node:fs";

const entryPattern = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([PF]) (.*)$/s;

/**
 * Checks the log of a container that writes `line 1`, `line 2` and so on and, when it is stopped, `end N`. It is read
 * file by file as it is rotated.
 */
export class NumberedLog {
  #lines = 0;
  #hasEnded = false;
  #part = "";
  #lastTime = "";

  /** How many lines were read. */
  get lines(): number {
    return this.#lines;
  }

  /** Whether the container's `end N` was read, with the number of its last line. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /**
   * Reads the next file to its end. Throws when a line is missing, repeated, out of order or not in the CRI's format.
   */
  async read(path: string): Promise<void> {
    let rest = "";
    for await (const chunk of createReadStream(path, { encoding: "utf8" })) {
      const lines = (rest + (chunk as string)).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#take(line);
    }
    if (rest !== "") throw new Error(`${path} ends in the middle of a line: ${JSON.stringify(rest.slice(-80))}`);
  }

  #take(line: string): void {
    const [, time, , tag, text] = entryPattern.exec(line) ?? [];
    if (time === undefined)
      throw new Error(
        `after line ${this.#lines} comes a line that is not in the CRI's format: ${JSON.stringify(line.slice(0, 120))}`,
      );
    if (time < this.#lastTime)
      throw new Error(`after line ${this.#lines} the time goes back from ${this.#lastTime} to ${time}`);
    this.#lastTime = time;
    this.#part += text;
    if (tag === "P") return; // continues in the next entry
    const whole = this.#part;
    this.#part = "";
    if (this.#hasEnded) throw new Error(`after the last line comes ${JSON.stringify(whole)}`);
    if (whole === `end ${this.#lines}`) {
      this.#hasEnded = true;
      return;
    }
    if (whole !== `line ${this.#lines + 1}`)
      throw new Error(`after line ${this.#lines} comes ${JSON.stringify(whole.slice(0, 80))}`);
    this.#lines++;
  }
}
