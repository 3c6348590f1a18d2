import fs from "node:fs";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { enterRoot } from "@keelson/linux/root.ts";
import { type RepositoryAccess, RepositoryClient } from "@keelson/oci/distribution/repository-client.ts";
import type { Transport } from "@keelson/oci/distribution/transport.ts";
import { DigestCheck } from "@keelson/oci/image-spec/digest.ts";
import type { Descriptor } from "@keelson/oci/image-spec/manifest.ts";
import { decompress } from "./decompress.ts";
import { checkUnpackedBytes, type LayerLimits } from "./layer-limits.ts";
import { LayerWriter, type UnpackedLayer } from "./layer-writer.ts";
import { TarReader } from "./tar-reader.ts";
import { writeManifest } from "./write-manifest.ts";

/** A layer to fetch and unpack. Plain data, for a worker thread. */
export interface LayerJob {
  access: RepositoryAccess;
  descriptor: Descriptor;
  /** The digest of the uncompressed tar. */
  diffId: string;
  /** An existing, empty directory. */
  directory: string;
  /** Where to write its manifest. */
  manifestPath: string;
  /** Where to keep the compressed bytes; undefined: do not keep them. */
  blobPath: string | undefined;
  /** The process's, which is applied to new files. */
  umask: number;
  limits: LayerLimits;
}

/**
 * Fetches a layer and unpacks it into `job.directory` while it arrives. Both digests are checked, that of the bytes
 * received and that of the tar in them. Throws ResourceExhausted when a limit is exceeded, and what the client, the
 * decompressor, the tar reader and the writer throw; the caller must remove what has been written. Only for worker
 * threads, as it enters the directory as the thread's root.
 */
export async function fetchLayer(
  job: LayerJob,
  transport: Transport,
  received: (bytes: number) => void,
  signal: AbortSignal,
): Promise<UnpackedLayer> {
  const client = new RepositoryClient(job.access, { transport });
  const diff = new DigestCheck(job.diffId);
  using writer = new LayerWriter(job.umask, job.limits);
  const reader = new TarReader(writer);
  let unpackedBytes = 0;
  await decompress(observed(client.blob(job.descriptor, signal), job.blobPath, received), (bytes) => {
    signal.throwIfAborted();
    unpackedBytes += bytes.length;
    checkUnpackedBytes(job.limits, job.descriptor.sizeBytes, unpackedBytes);
    diff.update(bytes);
    // Only while files are written: between chunks, this thread works on other layers.
    using _ = enterRoot(job.directory);
    reader.write(bytes);
  });
  reader.end();
  diff.finish(`uncompressed layer ${job.descriptor.digest}`);
  // Opened from outside of the layer, and only after its digest has been checked.
  const manifest = fs.openSync(job.manifestPath, "wx", 0o600);
  try {
    using _ = enterRoot(job.directory);
    return { ...writer.finish(), manifestDigest: namingFile(job.manifestPath, () => writeManifest(manifest, writer)) };
  } finally {
    fs.closeSync(manifest);
  }
}

/** Passes the bytes on; counts them, and writes them to a file. */
async function* observed(
  source: AsyncIterable<Uint8Array>,
  path: string | undefined,
  received: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  const fd = path === undefined ? -1 : fs.openSync(path, "wx", 0o600);
  try {
    let total = 0;
    for await (const chunk of source) {
      total += chunk.length;
      received(total);
      if (fd !== -1) namingFile(path!, () => writeAll(fd, chunk));
      yield chunk;
    }
  } finally {
    if (fd !== -1) fs.closeSync(fd);
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += fs.writeSync(fd, bytes, written);
}
