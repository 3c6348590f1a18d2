import { join } from "node:path";

/** Where everything is kept: `root` lasts, `state` is gone at the next boot. */
export interface Paths {
  readonly root: string;
  readonly state: string;
}

/** The state database. */
export const databasePath = (p: Paths) => join(p.root, "state.db");
/** Held by the one daemon of this root. */
export const lockPath = (p: Paths) => join(p.root, "lock");
/** What a pod has until the next boot: pins, files, /dev/shm. */
export const podDir = (p: Paths, id: string) => join(p.state, "pods", id);
/** A container's bundle: config.json, rootfs, the monitor's sockets. */
export const bundleDir = (p: Paths, id: string) => join(p.state, "containers", id);
/** Where the start tries what the kernel can do; empty at all other times. */
export const probeDir = (p: Paths) => join(p.root, "probe");
/** The writable layers of all containers. */
export const containersDir = (p: Paths) => join(p.root, "containers");
/** A container's writable layer. */
export const containerDir = (p: Paths, id: string) => join(containersDir(p), id);
