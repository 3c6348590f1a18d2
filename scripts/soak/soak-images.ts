import { busyboxRoot, type Image, makeImage, makeLayer, randomImage } from "@keelson/testkit/image.ts";
import type { Registry } from "@keelson/testkit/registry.ts";
import { file } from "@keelson/testkit/tar.ts";

/** References of the images in the registry. */
export interface SoakImages {
  /** The image of most containers; nobody removes it. */
  readonly busybox: string;
  /** One for each slot, which only its containers use, on the layer of `busybox`. */
  readonly ofSlots: readonly string[];
  /** Those that only the image client pulls and removes; some share the layer of `busybox`. */
  readonly churned: readonly string[];
}

/** Puts the images into the registry: 1 to 3 layers, some hundred KB each. */
export function addImages(registry: Registry, slots: number): SoakImages {
  const base = makeLayer(busyboxRoot());
  const onBase = (name: string, bytes: number): Image => {
    const own = makeLayer([file(`home/${name}`, Buffer.alloc(bytes, name))]);
    return makeImage([base, own], { config: { Cmd: ["sh"], Env: ["PATH=/bin"] } });
  };
  return {
    busybox: registry.add("soak/busybox", "latest", makeImage([base], { config: { Cmd: ["sh"], Env: ["PATH=/bin"] } })),
    ofSlots: Array.from({ length: slots }, (_, slot) =>
      registry.add(`soak/slot-${slot}`, "latest", onBase(`slot-${slot}`, 50_000)),
    ),
    churned: [
      ...["one", "two"].map((name) => registry.add(`soak/${name}`, "latest", onBase(name, 200_000))),
      ...[1, 2].map((seed) =>
        registry.add(
          `soak/random-${seed}`,
          "latest",
          randomImage({ layers: seed + 1, files: 60, bytes: 300_000, seed }),
        ),
      ),
    ],
  };
}
