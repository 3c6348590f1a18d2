/** A stream of a container, as the log names it. */
export type LogStream = "stdout" | "stderr";

/** The longest piece of a line that one entry holds, in bytes; the same as containerd's. */
export const maxPieceBytes = 16 * 1024;

const newline = 0x0a;
const partial = 0x50;

export interface Entries {
  /** What to write to the log. */
  readonly bytes: Buffer;
  /** How many bytes of the output it contains; the rest is the beginning of a line. */
  readonly used: number;
}

export interface EntriesOptions {
  readonly stream: LogStream;
  /** As `LogClock.now` gives it. */
  readonly time: string;
  /** How to write what follows the last newline: as P when more may come, as F at the stream's end. When not given, it is left over. */
  readonly flush?: "P" | "F" | undefined;
}

/**
 * Output as entries of a CRI log (Kubernetes: design-proposals/node/kubelet-cri-logging.md). A whole line is an entry with
 * the tag F; a line that is too long is several, of which all but the last have P.
 */
export function entriesOf(output: Buffer, { stream, time, flush }: EntriesOptions): Entries {
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

/** Where entries end: after each newline, and where a line becomes too long for one entry. */
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
