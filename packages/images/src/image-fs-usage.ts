import type { ImageStore } from "./image-store.ts";

/** How much images take (CRI: FilesystemUsage of ImageFsInfo). */
export interface ImageFsUsage {
  /** The directory that says on which file system images are. */
  mountpoint: string;
  usedBytes: number;
  inodesUsed: number;
}

/** The sum of the layers' sizes as they were counted when unpacked: no walk, so the kubelet may ask each second. */
export function imageFsUsage(store: Pick<ImageStore, "layers">): ImageFsUsage {
  const { bytes, inodes } = store.layers.usage;
  return { mountpoint: store.layers.directory, usedBytes: bytes, inodesUsed: inodes };
}
