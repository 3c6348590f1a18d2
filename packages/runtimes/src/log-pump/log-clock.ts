/** The clocks of the machine, which a test replaces. */
export interface Clocks {
  /** Milliseconds since 1970, by a clock that may be set. */
  wallMs(): number;
  /** Nanoseconds of a clock that is never set and goes as fast. */
  ticksNs(): bigint;
}

const machine: Clocks = { wallMs: () => Date.now(), ticksNs: () => process.hrtime.bigint() };

const nsInMs = 1_000_000n;
const nsInSecond = 1_000_000_000n;

/** The last time that the log's format can hold. */
const maxNs = BigInt(Date.UTC(9999, 11, 31, 23, 59, 59, 999)) * nsInMs + nsInMs - 1n;

/**
 * The times of a container's log, with nanoseconds: ticks fill in what the wall clock's milliseconds leave out. They
 * never decrease: not when the thread loses its processor between readings of the two clocks, and not when the wall
 * clock is set back. Then they go on at half speed until the wall clock has caught up, so that lines keep their order
 * and show how far apart they were; for a clock that was set back by an hour that takes two. When the wall clock is set
 * forward, they follow at once.
 */
export class LogClock {
  readonly #clocks: Clocks;
  /** The last time that was given, and the ticks then. */
  #lastNs: bigint;
  #lastTicksNs: bigint;
  #second = -1n;
  #secondText = "";

  /** @param lastNs the last time that is in the log already, in nanoseconds since 1970. */
  constructor(lastNs = 0n, clocks = machine) {
    this.#clocks = clocks;
    this.#lastNs = lastNs;
    this.#lastTicksNs = clocks.ticksNs();
  }

  /** The time as the log has it: `2026-01-02T03:04:05.000000006Z`. */
  now(): string {
    const before = this.#clocks.ticksNs();
    const wallNs = BigInt(this.#clocks.wallMs()) * nsInMs;
    const ticks = this.#clocks.ticksNs();
    const elapsedNs = ticks - this.#lastTicksNs;
    // The wall clock has shown this millisecond at some moment between the two readings of ticks.
    const [earliestNs, latestNs] = [wallNs, wallNs + nsInMs + (ticks - before)];
    const inStep = this.#lastNs + elapsedNs;
    const isAhead = inStep > latestNs;
    const slowed = this.#lastNs + elapsedNs / 2n;
    const nowNs = isAhead ? larger(latestNs, slowed) : larger(earliestNs, inStep);
    this.#lastTicksNs = ticks;
    this.#lastNs = nowNs < maxNs ? nowNs : maxNs;
    return this.#text(this.#lastNs);
  }

  #text(ns: bigint): string {
    const second = ns / nsInSecond;
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(Number(second) * 1000).toISOString().slice(0, 19);
    }
    return `${this.#secondText}.${String(ns % nsInSecond).padStart(9, "0")}Z`;
  }
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
