import { createGunzip, createZstdDecompress } from "node:zlib";
import { Code, StatusError } from "@keelson/base/status.ts";

/** The size of output pieces. Each one costs a trip to the thread pool, so they should not be small. */
const chunkSize = 256 * 1024;

/**
 * Passes the uncompressed bytes of a layer to `take`, which may throw. The compression is recognised by the first
 * bytes: gzip (also with several members), zstd (also with several frames) or none. Throws DataLoss when the data is
 * damaged or truncated.
 */
export async function decompress(source: AsyncIterable<Uint8Array>, take: (bytes: Buffer) => void): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    const head = await readHead(iterator);
    const stage = head[0] === 0x1f && head[1] === 0x8b ? gunzip(take) : isZstd(head) ? unzstd(take) : plain(take);
    await using _ = { [Symbol.asyncDispose]: () => stage.close() };
    await stage.write(head);
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next())
      await stage.write(asBuffer(next.value));
    await stage.end();
  } finally {
    await iterator.return?.();
  }
}

interface Stage {
  write(bytes: Buffer): Promise<void> | void;
  end(): Promise<void> | void;
  close(): Promise<void>;
}

/** At least the first four bytes, or all if there are fewer. */
async function readHead(iterator: AsyncIterator<Uint8Array>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < 4) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = head.length === 0 ? asBuffer(next.value) : Buffer.concat([head, next.value]);
  }
  return head;
}

/** A zstd frame, or a skippable one before it (RFC 8878, 3.1). */
function isZstd(head: Buffer): boolean {
  if (head.length < 4) return false;
  const magic = head.readUInt32LE(0);
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50;
}

function plain(take: (bytes: Buffer) => void): Stage {
  return { write: take, end: () => {}, close: () => Promise.resolve() };
}

function gunzip(take: (bytes: Buffer) => void): Stage {
  return transformStage(createGunzip({ chunkSize }), "gzip", take);
}

function unzstd(take: (bytes: Buffer) => void): Stage {
  return transformStage(createZstdDecompress({ chunkSize }), "zstd", take);
}

function transformStage(
  transform: ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>,
  name: string,
  take: (bytes: Buffer) => void,
): Stage {
  let failure: unknown;
  // Caught here, as an error of `take` thrown out of an event would end the thread.
  transform.on("data", (bytes: Buffer) => {
    if (failure !== undefined) return;
    try {
      take(bytes);
    } catch (error) {
      failure = error;
      transform.destroy();
    }
  });
  transform.on(
    "error",
    (error) => (failure ??= new StatusError(Code.DataLoss, `${name} data is damaged: ${error.message}`, error)),
  );
  const closed = new Promise<void>((resolve) => transform.once("close", resolve));
  const settled = () => {
    if (failure !== undefined) throw failure;
  };
  return {
    write: async (bytes) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      transform.write(bytes, () => resolve());
      await Promise.race([promise, closed]);
      settled();
    },
    end: async () => {
      transform.end();
      await closed;
      settled();
    },
    close: async () => {
      transform.destroy();
      await closed;
    },
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
