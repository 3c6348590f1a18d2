import { existsSync, readFileSync } from "node:fs";

/** A line of a container's log, or a part of one (Kubernetes: design-proposals/node/kubelet-cri-logging.md). */
export interface LogEntry {
  /** ns since 1970. */
  readonly timeNs: bigint;
  readonly stream: "stdout" | "stderr";
  /** P: the line goes on in the next entry of the same stream; F: it ends here. */
  readonly tag: "P" | "F";
  readonly text: string;
}

const entryPattern = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF]) (.*)$/s;

/** The entries of a log file. Throws at the first that does not have exactly the format, or does not end. */
export function parseLog(text: string): LogEntry[] {
  if (text === "") return [];
  if (!text.endsWith("\n")) throw new Error(`the log does not end with a newline: …${JSON.stringify(text.slice(-80))}`);
  return text
    .slice(0, -1)
    .split("\n")
    .map((line, index) => {
      const [, seconds, fraction, zone, stream, tag, rest] = entryPattern.exec(line) ?? [];
      if (rest === undefined)
        throw new Error(`line ${index + 1} is not a line of a CRI log: ${JSON.stringify(line.slice(0, 120))}`);
      const timeNs = BigInt(Date.parse(`${seconds}${zone}`)) * 1_000_000n + BigInt(fraction!);
      return { timeNs, stream: stream as LogEntry["stream"], tag: tag as LogEntry["tag"], text: rest };
    });
}

/** The complete entries of a log that is still being written; none while there is no file. */
export function logSoFar(path: string): LogEntry[] {
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  return parseLog(text.slice(0, text.lastIndexOf("\n") + 1));
}

/** The lines that were written to one stream, with partial entries joined. */
export function linesOf(entries: readonly LogEntry[], stream: LogEntry["stream"] = "stdout"): string[] {
  const lines: string[] = [];
  let line = "";
  for (const entry of entries) {
    if (entry.stream !== stream) continue;
    line += entry.text;
    if (entry.tag === "P") continue;
    lines.push(line);
    line = "";
  }
  return line === "" ? lines : [...lines, line];
}
