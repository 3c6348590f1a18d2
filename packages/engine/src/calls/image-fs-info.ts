import type { FilesystemUsage, ImageFsInfoResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { imageFsUsage } from "@keelson/images/image-fs-usage.ts";
import { diskUsageAsync } from "@keelson/linux/tree.ts";
import type { Deps } from "../deps.ts";
import { containersDir } from "../records/paths.ts";

/**
 * CRI: ImageFsInfo. Layers were measured when they were unpacked; writable layers are measured now, off the main
 * thread.
 */
export async function imageFsInfo(d: Deps): Promise<ImageFsInfoResponse> {
  const images = imageFsUsage(d.images);
  const dir = containersDir(d.paths);
  const containers = await diskUsageAsync(dir);
  const timestamp = d.nowNs();
  return {
    imageFilesystems: [usage(timestamp, images.mountpoint, images.usedBytes, images.inodesUsed)],
    containerFilesystems: [usage(timestamp, dir, containers.bytes, containers.inodes)],
  };
}

function usage(timestamp: bigint, mountpoint: string, bytes: number, inodes: number): FilesystemUsage {
  return {
    timestamp,
    fsId: { mountpoint },
    usedBytes: { value: BigInt(bytes) },
    inodesUsed: { value: BigInt(inodes) },
  };
}
