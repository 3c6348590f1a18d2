import { systemError } from "./errno.ts";
import { native, type Place } from "./native.ts";

export type { Place } from "./native.ts";

const notFound: readonly number[] = [2, 20];

/**
 * Where absolute paths lead for a process that has `root` as its root, links included; undefined for one on the way to
 * which there is nothing. Looked up in one job on libuv's pool, with openat2(2): only for roots in which nothing is
 * mounted, so that they cannot hang.
 *
 * Throws SystemError: ELOOP, with the path, for too many links.
 */
export async function findPlaces(root: string, paths: readonly string[]): Promise<(Place | undefined)[]> {
  const found = await native.findPlaces(root, paths);
  return found.map((place, i) => {
    if (typeof place !== "number") return place;
    if (notFound.includes(place)) return undefined;
    throw Object.assign(systemError(`look for ${paths[i]} in ${root}`, place, "openat2"), { path: paths[i] });
  });
}
