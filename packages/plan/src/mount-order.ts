import { cleanPath, pathDepth } from "./clean-path.ts";

/**
 * Mounts in an order in which none hides another: a parent always has fewer directories in its path than what is in it.
 * Stable.
 */
export function parentsFirst<M extends { destination: string }>(mounts: readonly M[]): M[] {
  const depthOf = (mount: M) => pathDepth(cleanPath(mount.destination));
  return mounts.toSorted((a, b) => depthOf(a) - depthOf(b));
}
