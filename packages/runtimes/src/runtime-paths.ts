import { join } from "node:path";

/** What is gone at the next boot is below it. */
export interface StatePath {
  readonly state: string;
}

/** What the runtime makes a container of. */
export const specFile = (bundle: string) => join(bundle, "config.json");
/** Exit codes, written by the monitors. */
export const exitsDir = (p: StatePath) => join(p.state, "exits");
/** What the OCI runtime of a handler keeps. */
export const runtimeRoot = (p: StatePath, handler: string) => join(p.state, "runtimes", handler);
/** What we have of a handler's shims: the socket for their events. */
export const shimDir = (p: StatePath, handler: string) => join(p.state, "shims", handler);
/** What shims are told as containerd's socket; none is there. They make the names of their own sockets of it. */
export const shimAddress = (p: StatePath) => join(p.state, "shims", "none");
