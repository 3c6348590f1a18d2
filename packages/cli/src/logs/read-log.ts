import { type FileHandle, open, stat } from "node:fs/promises";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { LogPrinter } from "./log-printer.ts";
import { tailOffset } from "./tail.ts";

/** What following a log needs to know of the world. */
export interface LogWaiter {
  /** Whether the container has ended, so that nothing more will be logged. */
  isOver(): Promise<boolean>;
  /** Resolves when the file may have changed, or after a while. Rejects when the user interrupts. */
  changed(): Promise<void>;
}

export interface ReadLogOptions {
  /** Only this many of the last lines. */
  readonly tailLines?: number | undefined;
  /** Continue until the container has ended; without it, print what the file has now. */
  readonly follow?: LogWaiter | undefined;
}

const chunkBytes = 64 * 1024;

/**
 * Prints a CRI log file. While following, a file that replaces it (a kubelet's rotation) or that is truncated
 * (copytruncate) is read from its beginning, after the rest of the old one.
 */
export async function readLog(path: string, printer: LogPrinter, options: ReadLogOptions): Promise<void> {
  await using stack = new AsyncDisposableStack();
  let file = stack.use(await openLog(path, options.follow));
  const { size } = await file.stat();
  let position = options.tailLines === undefined ? 0 : await tailOffset(file, size, options.tailLines);
  const end = options.follow === undefined ? size : Infinity;
  let isOver = false;
  while (!printer.isDone) {
    position = await printUpTo(file, position, end, printer);
    if (options.follow === undefined || printer.isDone) break;
    const change = await changeOf(path, file, position);
    if (change !== undefined) {
      if (change === "replaced") {
        // What was written to the old file between our last read and its replacement.
        await printUpTo(file, position, end, printer);
        const next = await openLog(path, options.follow);
        await file.close();
        file = stack.use(next);
      }
      await printer.endFile();
      position = 0;
      continue;
    }
    if (isOver) break;
    isOver = await options.follow.isOver();
    if (!isOver) await options.follow.changed();
  }
  await printer.endFile();
}

async function openLog(path: string, waiter: LogWaiter | undefined): Promise<FileHandle> {
  for (;;) {
    try {
      return await open(path, "r");
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
      if (isMissing && waiter !== undefined && !(await waiter.isOver())) {
        await waiter.changed();
        continue;
      }
      const why = isMissing
        ? "there is no such file. keelctl reads it directly, so it must run on the container's host"
        : messageOf(error);
      throw new StatusError(isMissing ? Code.NotFound : Code.PermissionDenied, `read the log ${path}: ${why}`, error);
    }
  }
}

async function printUpTo(file: FileHandle, from: number, end: number, printer: LogPrinter): Promise<number> {
  const buffer = Buffer.alloc(chunkBytes);
  let position = from;
  while (position < end && !printer.isDone) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(chunkBytes, end - position), position);
    if (bytesRead === 0) break;
    await printer.push(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
  return position;
}

async function changeOf(
  path: string,
  file: FileHandle,
  position: number,
): Promise<"replaced" | "truncated" | undefined> {
  const mine = await file.stat({ bigint: true });
  if (mine.size < position) return "truncated";
  try {
    const there = await stat(path, { bigint: true });
    return there.ino === mine.ino && there.dev === mine.dev ? undefined : "replaced";
  } catch {
    // The old file was renamed, and the new one does not exist yet.
    return undefined;
  }
}
