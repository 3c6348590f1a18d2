import type { ImageStore } from "./image-store.ts";

/** How much space images use (CRI: FilesystemUsage of ImageFsInfo). */
export interface ImageFsUsage {
  /** A directory on the file system of images. */
  mountpoint: string;
  usedBytes: number;
  inodesUsed: number;
}

/** The sum of the layers' sizes, which were counted when they were unpacked. Cheap enough to be called every second. */
export function imageFsUsage(store: Pick<ImageStore, "layers">): ImageFsUsage {
  const { bytes, inodes } = store.layers.usage;
  return { mountpoint: store.layers.directory, usedBytes: bytes, inodesUsed: inodes };
}
