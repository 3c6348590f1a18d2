import { join } from "node:path";
import type { LayerStore } from "@keelson/images/layer-store.ts";
import type { Deps } from "../deps.ts";
import type { FakeNode } from "./fake-node.ts";

/** The images of a machine in memory: those that the test has added. */
export function fakeImages(node: FakeNode): Deps["images"] {
  return {
    find: (name) => node.images.get(name) ?? [...node.images.values()].find((image) => image.id === name),
    list: () => [...node.images.values()],
    lowerDirectories: () => node.now("images lower-directories", () => ["/layers/1"]),
    collectGarbage: () => node.now("images collect-garbage", () => {}),
    remove: (name) => void node.images.delete(name),
    layers: { usage: { bytes: 0, inodes: 0 }, directory: join(node.paths.root, "layers") } as unknown as LayerStore,
  };
}
