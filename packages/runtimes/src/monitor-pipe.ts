import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { Code, StatusError } from "@keelson/base/status.ts";
import { createPipe } from "@keelson/linux/pipe.ts";

/** How much is read, in bytes: more than any runtime's error message. */
const maxBytes = 64 * 1024;

/**
 * The pipe on which conmon reports whether a container was created: one line of JSON, `{"data": pid}` or
 * `{"data": -1, "message": why}` (conmon's parent_pipe_fd.c).
 */
export class MonitorPipe implements Disposable {
  readonly #socket: Socket;
  readonly #text: Promise<string>;
  #writeFd: number | undefined;

  constructor() {
    const { readFd, writeFd } = createPipe();
    this.#writeFd = writeFd;
    this.#socket = new Socket({ fd: readFd, readable: true, writable: false });
    this.#text = readUntilNewline(this.#socket);
  }

  /** The end that the monitor inherits. */
  get writeFd(): number {
    return this.#writeFd!;
  }

  /** Closes our copy of the monitor's end, so that the pipe ends when the monitor dies. */
  handedOver(): void {
    if (this.#writeFd !== undefined) closeSync(this.#writeFd);
    this.#writeFd = undefined;
  }

  /** The pid that the monitor reports. Throws Internal with the runtime's message, and the signal's reason when it aborts. */
  async pid(signal: AbortSignal): Promise<number> {
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(signal.reason as Error);
    signal.throwIfAborted();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return parseReport(await Promise.race([this.#text, aborted.promise]));
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  [Symbol.dispose](): void {
    this.handedOver();
    this.#socket.destroy();
  }
}

/** The pid in a report. Throws Internal when it reports an error or cannot be read. */
export function parseReport(text: string): number {
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch {
    throw new StatusError(
      Code.Internal,
      text === ""
        ? "the monitor ended without a report, as it does when the runtime crashes; install that again if it does so each time"
        : `the monitor's report cannot be read: ${runtimeMessage(text)}`,
    );
  }
  const { data, message } = (report ?? {}) as { data?: unknown; message?: unknown };
  if (typeof data === "number" && Number.isSafeInteger(data) && data > 1) return data;
  throw new StatusError(
    Code.Internal,
    typeof message === "string" ? runtimeMessage(message) : "the monitor reports an error without a message",
  );
}

/** What a runtime wrote as an error, as one line fit for a status: no control characters, no timestamps, bounded. */
export function runtimeMessage(text: string): string {
  const lines = text
    .split("\n")
    .map(messageOfLine)
    .filter((line) => line !== "");
  const lastLines = lines.slice(-3).join("; ");
  // oxlint-disable-next-line no-control-regex -- control characters are what this removes
  const oneLine = lastLines.replaceAll(/[\u0000-\u001f\u007f]+/g, " ");
  return oneLine.length > 1000 ? `${oneLine.slice(0, 1000)}…` : oneLine || "no message";
}

/** runc writes `time="…" level=error msg="…"`, runsc `{"msg":"…",…}`, crun plain text. */
function messageOfLine(line: string): string {
  const quoted = /(?:\bmsg=|"msg":)("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  if (quoted === undefined) return line.trim();
  try {
    return String(JSON.parse(quoted));
  } catch {
    return line.trim();
  }
}

async function readUntilNewline(socket: Socket): Promise<string> {
  let text = "";
  socket.setEncoding("utf8");
  try {
    for await (const chunk of socket) {
      text += chunk as string;
      if (text.includes("\n") || text.length > maxBytes) break;
    }
  } catch {
    // A broken pipe says no more than one that ends.
  }
  return text.split("\n")[0]!;
}
