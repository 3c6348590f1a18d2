import { setImmediate as othersTurn } from "node:timers/promises";
import { ExecSyncResponse } from "./gen/runtime/v1/api.ts";

/** A command's output in blocks, and its exit code. */
export interface ExecSyncAnswer {
  readonly stdout: readonly Buffer[];
  readonly stderr: readonly Buffer[];
  readonly exitCode: number;
}

/** The bytes of answers that were encoded before they were returned. */
const encoded = new WeakMap<object, Buffer>();

/**
 * Makes the answer of an ExecSync and encodes it, block by block with other work in between: it can have 32 MiB. Its
 * streams are parts of the encoded bytes, so it must not be changed.
 *
 * @param onCopied called with each block as soon as it is no longer needed.
 */
export async function encodeExecSync(
  { stdout, stderr, exitCode }: ExecSyncAnswer,
  onCopied: (block: Buffer) => void,
): Promise<ExecSyncResponse> {
  const [heads, streams] = [
    [0x0a, 0x12],
    [stdout, stderr],
  ];
  const lengths = streams.map((blocks) => blocks.reduce((sum, block) => sum + block.length, 0));
  const fields = lengths.map((length, i) => (length === 0 ? [] : [heads[i]!, ...varint(length)]));
  const tail = ExecSyncResponse.encode({ stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), exitCode }).finish();
  const size = lengths[0]! + lengths[1]! + fields[0]!.length + fields[1]!.length + tail.length;
  const bytes = Buffer.allocUnsafeSlow(size);
  let at = 0;
  const parts: Buffer[] = [];
  for (const [i, blocks] of streams.entries()) {
    bytes.set(fields[i]!, at);
    at += fields[i]!.length;
    parts.push(bytes.subarray(at, at + lengths[i]!));
    for (const block of blocks) {
      bytes.set(block, at);
      at += block.length;
      onCopied(block);
      if (at > yieldAfterBytes) await othersTurn();
    }
  }
  bytes.set(tail, at);
  const response = { stdout: parts[0]!, stderr: parts[1]!, exitCode };
  encoded.set(response, bytes);
  return response;
}

/** The size up to which an answer is encoded in one go, in bytes. */
const yieldAfterBytes = 256 * 1024;

export function serializeExecSync(response: unknown): Buffer {
  const message = response as ExecSyncResponse;
  return encoded.get(message) ?? Buffer.from(ExecSyncResponse.encode(message).finish());
}

/** https://protobuf.dev/programming-guides/encoding/#varints */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}
