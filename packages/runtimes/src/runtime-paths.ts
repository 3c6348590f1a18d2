import { join } from "node:path";

/** The directory for what does not outlive a boot. */
export interface StatePath {
  readonly state: string;
}

/** The OCI spec of a container. */
export const specFile = (bundle: string) => join(bundle, "config.json");
/** Where monitors write exit codes. */
export const exitsDir = (p: StatePath) => join(p.state, "exits");
/** Where the OCI runtime of a handler keeps its state. */
export const runtimeRoot = (p: StatePath, handler: string) => join(p.state, "runtimes", handler);
/** Where the socket for the events of a handler's shims is. */
export const shimDir = (p: StatePath, handler: string) => join(p.state, "shims", handler);
/** What shims take for containerd's socket: they derive the names of their own sockets from it. Nothing listens there. */
export const shimAddress = (p: StatePath) => join(p.state, "shims", "none");
