import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { removal } from "./check-directories.ts";
import { type Finding, shortId } from "./finding.ts";
import type { PullAgain } from "./pull-again.ts";
import type { StoreView } from "./store-view.ts";

/** Images whose layers have no record. */
export function checkImages(view: StoreView, pullAgain: PullAgain): Finding[] {
  return [...view.images.values()].flatMap((image) => {
    // One whose record cannot be read is a finding of its own.
    const isUnreadable = new Set(view.unreadable.layers.map(({ id }) => id));
    const missing = image.layers.filter((id) => !view.layers.has(id) && !isUnreadable.has(id));
    if (missing.length === 0) return [];
    return [
      {
        about: "image" as const,
        where: image.repoTags[0] ?? image.repoDigests[0] ?? shortId(image.id),
        what: `${missing.length} of its ${image.layers.length} layers ${missing.length === 1 ? "is" : "are"} not here: ${missing.map(shortId).join(", ")}`,
        means: "it counts as absent, and is pulled again when it is next needed",
        repair: {
          does: "pulls what is missing",
          besideDaemon: true,
          run: async () => `pulled from ${await pullAgain([image])}`,
        },
      },
    ];
  });
}

/** Compressed layers that are kept (`[images] keep_layers`), against the digests that are their names. */
export async function* checkBlobs(view: StoreView): AsyncGenerator<Finding> {
  for (const algorithm of ["sha256", "sha512"]) {
    const directory = join(view.paths.root, "blobs", algorithm);
    if (!existsSync(directory)) continue;
    for (const name of readdirSync(directory).sort()) {
      const file = join(directory, name);
      const found = await digestOfFile(file, algorithm);
      if (found === name || found === undefined) continue;
      yield {
        about: "blob",
        where: file,
        what: `its digest is ${algorithm}:${found.slice(0, 12)}…`,
        means: "nothing for containers: it is only a copy",
        repair: removal(file),
      };
    }
  }
}

/** Undefined when it has been removed meanwhile. */
async function digestOfFile(file: string, algorithm: string): Promise<string | undefined> {
  const hash = createHash(algorithm);
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
    return hash.digest("hex");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
