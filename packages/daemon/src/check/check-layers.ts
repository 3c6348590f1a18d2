import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "@keelson/base/status.ts";
import { compareLayer, type Difference } from "@keelson/images/compare-layer.ts";
import { layerFiles } from "@keelson/images/layer-files.ts";
import { manifestDigestOf, type ManifestLines, parseManifestLines } from "@keelson/images/layer-manifest.ts";
import type { ImageRecord, LayerRecord } from "@keelson/images/record.ts";
import { type Finding, type Repair, shortId } from "./finding.ts";
import type { PullAgain } from "./pull-again.ts";
import { type StoreView, viewStore } from "./store-view.ts";

/** How many differences of one layer are reported one by one. */
const reportedLimit = 20;

/** All layers, file by file, against their manifests. Reads everything: as slow as the disk. */
export function* checkLayers(view: StoreView, pullAgain: PullAgain): Generator<Finding> {
  for (const layer of view.layers.values()) {
    const isGone = () => view.daemonPid !== undefined && !viewStore(view.config, view.daemonPid).layers.has(layer.id);
    try {
      const found = [...checkLayer(view, layer, pullAgain)];
      // A layer that a daemon is just removing is not damaged.
      if (found.length > 0 && !isGone()) yield* found;
    } catch (error) {
      if (!isGone()) throw error;
    }
  }
}

function* checkLayer(view: StoreView, layer: LayerRecord, pullAgain: PullAgain): Generator<Finding> {
  const directory = join(view.paths.root, "layers", layer.directory);
  const images = imagesWith(view, layer.id);
  const repair = repairOf(layer, directory, images, pullAgain);
  const finding = (what: string, means: string): Finding => ({
    about: "layer",
    where: nameOf(layer, images),
    what,
    means,
    repair,
  });
  const manifest = readManifest(layer, directory);
  if (!existsSync(join(directory, layerFiles.diff)))
    return yield finding(
      `its directory ${directory} is missing`,
      "its images count as absent, and are pulled again when they are next needed",
    );
  if (existsSync(join(directory, layerFiles.damageMark)))
    yield finding(
      "it was marked as damaged",
      "its images count as absent, and the next pull of one fetches this layer",
    );
  if (typeof manifest === "string") return yield finding(manifest, "it cannot be checked");
  const { reported, count } = differences(join(directory, layerFiles.diff), manifest);
  const means = "containers of its images may fail or do the wrong thing";
  for (const difference of reported) yield finding(describe(difference), means);
  if (count > reported.length) yield finding(`${count - reported.length} more of its files differ`, means);
}

function differences(directory: string, manifest: ManifestLines): { reported: Difference[]; count: number } {
  const reported: Difference[] = [];
  let count = 0;
  for (const difference of compareLayer(directory, manifest)) {
    count += 1;
    if (reported.length < reportedLimit) reported.push(difference);
  }
  return { reported, count };
}

/** Its manifest, or why it cannot be used. */
function readManifest(layer: LayerRecord, directory: string): ManifestLines | string {
  if (layer.manifestDigest === undefined) return "it comes from a version of keelsond that wrote no manifest";
  try {
    const text = readFileSync(join(directory, layerFiles.manifest));
    return manifestDigestOf(text) === layer.manifestDigest
      ? parseManifestLines(text.toString("latin1"))
      : "its manifest is damaged";
  } catch (error) {
    return `its manifest cannot be read: ${messageOf(error)}`;
  }
}

/** One repair for all that is wrong with a layer, done once: it is pulled again as a whole. */
function repairOf(layer: LayerRecord, directory: string, images: readonly ImageRecord[], pullAgain: PullAgain): Repair {
  let done: Promise<string> | undefined;
  return {
    does:
      images.length > 0
        ? "pulls this layer again, and no other, and replaces what differs"
        : "nothing: no image has it any more, only containers, which have to be removed",
    besideDaemon: true,
    run: () => (done ??= pullLayerAgain(layer, directory, images, pullAgain)),
  };
}

async function pullLayerAgain(
  layer: LayerRecord,
  directory: string,
  images: readonly ImageRecord[],
  pullAgain: PullAgain,
): Promise<string> {
  // The puller and the daemon go by this file; it stays when the layer cannot be pulled now.
  if (existsSync(directory))
    writeFileSync(join(directory, layerFiles.damageMark), `found by keelsond check at ${new Date().toISOString()}\n`);
  const from = await pullAgain(images);
  const manifest = parseManifestLines(readFileSync(join(directory, layerFiles.manifest), "latin1"));
  const [left] = compareLayer(join(directory, layerFiles.diff), manifest);
  if (left !== undefined)
    throw new Error(`layer ${shortId(layer.id)} was pulled again and still differs: ${describe(left)}`);
  return `pulled again from ${from}`;
}

export function imagesWith(view: Pick<StoreView, "images">, layer: string): ImageRecord[] {
  return [...view.images.values()].filter((image) => image.layers.includes(layer));
}

function nameOf(layer: LayerRecord, images: readonly ImageRecord[]): string {
  const names = images.map((image) => image.repoTags[0] ?? image.repoDigests[0] ?? image.id);
  return `${shortId(layer.id)} of ${names.length === 0 ? "no image" : names.slice(0, 3).join(", ")}${names.length > 3 ? " and others" : ""}`;
}

function describe({ path, is, detail }: Difference): string {
  const name = Buffer.from(path, "latin1").toString();
  switch (is) {
    case "missing":
      return `${name} is missing`;
    case "added":
      return `${name} does not belong to it`;
    case "changed":
      return `${name}: ${detail}`;
  }
}
