import type { FileHandle } from "node:fs/promises";
import { type LogHead, maxHeadBytes, parseHead } from "./log-entry.ts";

/**
 * The offset at which the last `lines` lines of the first `size` bytes of a log begin. A line that was logged in parts
 * counts once; one that is not finished yet does not count.
 */
export async function tailOffset(file: FileHandle, size: number, lines: number): Promise<number> {
  let start = size;
  let count = 0;
  let following: LogHead | undefined;
  for await (const entry of entriesBackward(file, size)) {
    const isPart = entry.head?.isPartial === true && (count === 0 || following?.stream === entry.head.stream);
    if (entry.isComplete && !isPart) {
      if (count >= lines) return start;
      if (entry.head?.isPartial !== true) count += 1;
    }
    start = entry.start;
    following = entry.head;
  }
  return start;
}

interface Entry {
  readonly start: number;
  readonly isComplete: boolean;
  readonly head: LogHead | undefined;
}

const blockBytes = 64 * 1024;
const newline = 0x0a;

/** The entries from the last to the first. Of their texts only the line ends are looked for. */
async function* entriesBackward(file: FileHandle, size: number): AsyncGenerator<Entry> {
  let isComplete = false;
  for (let right = size; right > 0; right -= blockBytes) {
    const left = Math.max(0, right - blockBytes);
    // A little more than the block, to have the head of an entry that begins at its end.
    const block = await readAt(file, left, Math.min(size, right + maxHeadBytes) - left);
    for (
      let at = block.lastIndexOf(newline, right - left - 1);
      at >= 0;
      at = at === 0 ? -1 : block.lastIndexOf(newline, at - 1)
    ) {
      const start = left + at + 1;
      if (start < size) yield { start, isComplete, head: parseHead(block.subarray(at + 1)) };
      isComplete = true;
    }
  }
  if (size > 0) yield { start: 0, isComplete, head: parseHead(await readAt(file, 0, Math.min(size, maxHeadBytes))) };
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}
