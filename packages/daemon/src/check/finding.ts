/** Something in the store that is wrong. */
export interface Finding {
  readonly about:
    | "database"
    | "record"
    | "pod"
    | "container"
    | "image"
    | "layer"
    | "blob"
    | "network"
    | "directory"
    | "file";
  /** An id, a name or a path. */
  readonly where: string;
  readonly what: string;
  /** What that means for those who run pods on this node. */
  readonly means: string;
  /** What `--repair` does; undefined if nothing, and then `means` says what the user can do. */
  readonly repair: Repair | undefined;
}

export interface Repair {
  /** What it does, in the third person: `pulls this layer again`. */
  readonly does: string;
  /** Whether it can be done while a daemon works with the store. */
  readonly besideDaemon: boolean;
  /** Does it. Resolves with what was done; throws why it could not be. */
  readonly run: () => Promise<string>;
}

/** Whether two findings say the same of the same thing. */
export function isSame(a: Finding, b: Finding): boolean {
  return a.about === b.about && a.where === b.where && a.what === b.what;
}

/** An id as people are shown it. */
export function shortId(id: string): string {
  return id.startsWith("sha256:") ? id.slice(0, 19) : id.slice(0, 13);
}
