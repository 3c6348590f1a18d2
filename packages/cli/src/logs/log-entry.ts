/** What precedes the text of a CRI log line: `2016-10-06T00:17:09.669794202Z stdout P `. */
export interface LogHead {
  /** With nine digits of the second, as crictl prints it. */
  readonly timestamp: string;
  /** ns since 1970 */
  readonly atNs: bigint;
  readonly stream: "stdout" | "stderr";
  /** The line continues in the next entry of this stream (tag P). */
  readonly isPartial: boolean;
  /** Length of the head in bytes. */
  readonly length: number;
}

/** No head is longer: a timestamp has at most 35 characters, and P and F are the only tags. */
export const maxHeadBytes = 128;

const headPattern = /^((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)) (stdout|stderr) ([^ \n]+) /;

/**
 * The head at the beginning of the bytes, or undefined. The format:
 * https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
 */
export function parseHead(bytes: Buffer): LogHead | undefined {
  const match = headPattern.exec(bytes.toString("latin1", 0, maxHeadBytes));
  if (match === null) return undefined;
  const [all, , seconds, fraction = "", zone, stream, tags] = match;
  const ms = Date.parse(`${seconds}${zone}`);
  if (Number.isNaN(ms)) return undefined;
  const digits = fraction.padEnd(9, "0");
  return {
    timestamp: `${seconds}.${digits}${zone}`,
    atNs: BigInt(ms) * 1_000_000n + BigInt(digits),
    stream: stream as "stdout" | "stderr",
    isPartial: tags!.split(":")[0] === "P",
    length: all.length,
  };
}
