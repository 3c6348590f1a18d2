import { join } from "node:path";

/** Where everything is: `root` lasts, `state` is gone at the next boot. */
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
/** What the runtime makes a container of. */
export const specFile = (bundle: string) => join(bundle, "config.json");
/** Where the start tries what the kernel can; there is nothing else of it. */
export const probeDir = (p: Paths) => join(p.root, "probe");
/** The writable layers of all containers. */
export const containersDir = (p: Paths) => join(p.root, "containers");
/** A container's writable layer. */
export const containerDir = (p: Paths, id: string) => join(containersDir(p), id);
/** Exit codes, written by the monitors. */
export const exitsDir = (p: Paths) => join(p.state, "exits");
/** What the OCI runtime of a handler keeps. */
export const runtimeRoot = (p: Paths, handler: string) => join(p.state, "runtimes", handler);
/** What we have of a handler's shims: the socket for their events. */
export const shimDir = (p: Paths, handler: string) => join(p.state, "shims", handler);
/** What shims are told as containerd's socket; none is there. They make the names of their own sockets of it. */
export const shimAddress = (p: Paths) => join(p.state, "shims", "none");
