/** A stream of a container, as the log has it. */
export type LogStream = "stdout" | "stderr";

/** The longest piece of a line that one entry has, in bytes; as containerd has it. */
export const maxPieceBytes = 16 * 1024;

const newline = 0x0a;
const partial = 0x50;

export interface Entries {
  /** What is to be written to the log. */
  readonly bytes: Buffer;
  /** How many of the bytes that were given are in it; the rest is the beginning of a line. */
  readonly used: number;
}

/**
 * Output as entries of a CRI log (Kubernetes: design-proposals/node/kubelet-cri-logging.md): a whole line is one with the
 * tag F; of a longer one all pieces but the last have P. What follows the last newline is left over, unless it is a whole
 * piece or `flush` says how it is to be written: as P when more may come, as F at the stream's end.
 */
export function entriesOf(output: Buffer, stream: LogStream, time: string, flush?: "P" | "F"): Entries {
  const head = Buffer.from(`${time} ${stream} F `);
  const tagAt = head.length - 2;
  const cuts = cutsOf(output, flush !== undefined);
  const used = cuts.at(-1) ?? 0;
  const bytes = Buffer.allocUnsafe(used + cuts.length * (head.length + 1));
  let at = 0;
  let from = 0;
  for (const to of cuts) {
    const isWhole = output[to - 1] === newline;
    at += head.copy(bytes, at);
    if (!isWhole && !(flush === "F" && to === output.length)) bytes[at - head.length + tagAt] = partial;
    at += output.copy(bytes, at, from, to);
    if (!isWhole) bytes[at++] = newline;
    from = to;
  }
  return { bytes: bytes.subarray(0, at), used };
}

/** Where entries end: after each newline, and where a line becomes too long for one. */
function cutsOf(output: Buffer, withRest: boolean): number[] {
  const cuts: number[] = [];
  let from = 0;
  while (from < output.length) {
    const found = output.indexOf(newline, from);
    const end = found < 0 ? output.length : found + 1;
    // The newline is not a part of the piece.
    const length = found < 0 ? end - from : end - from - 1;
    if (length > maxPieceBytes || (found < 0 && length === maxPieceBytes)) from += maxPieceBytes;
    else if (found < 0 && !withRest) break;
    else from = end;
    cuts.push(from);
  }
  return cuts;
}

const ticksNs = (): bigint => process.hrtime.bigint();

/** How far the clock of ticks may be from the machine's before that counts as set, in ns. */
const maxDriftNs = 2_000_000n;

/** The time as the log has it, with nanoseconds: the machine's clock knows milliseconds, and ticks go between. */
export class LogClock {
  #wallNs = BigInt(Date.now()) * 1_000_000n;
  #ticksNs = ticksNs();
  #second = -1n;
  #secondText = "";

  now(): string {
    const dateNs = BigInt(Date.now()) * 1_000_000n;
    const ticks = ticksNs();
    let nowNs = this.#wallNs + (ticks - this.#ticksNs);
    const drift = nowNs - dateNs;
    if (drift > maxDriftNs || drift < -maxDriftNs) {
      this.#wallNs = nowNs = dateNs;
      this.#ticksNs = ticks;
    }
    const second = nowNs / 1_000_000_000n;
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(Number(second) * 1000).toISOString().slice(0, 19);
    }
    return `${this.#secondText}.${String(nowNs % 1_000_000_000n).padStart(9, "0")}Z`;
  }
}
