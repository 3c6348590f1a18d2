import { basename, dirname } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { Place } from "@keelson/linux/place.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import { quote } from "@keelson/plan/field-check.ts";
import type { ContainerHost } from "../machine/container-host.ts";

/** A mount whose source is known. */
export interface KnownMount {
  readonly destination: string;
  /** What is mounted, for people to read. */
  readonly what: string;
  readonly isDirectory: boolean;
}

interface MountFacts {
  readonly plan: Pick<ContainerPlan, "mounts">;
  /** What findHostPaths found. */
  readonly hostPaths: ReadonlyMap<string, ResolvedPath>;
  /** What prepareMountSources found. */
  readonly mountSources: readonly string[];
  /** The sources of the pod's own mounts, which are files. */
  readonly podFiles: readonly string[];
}

/** The mounts of a container's config, and those of its pod's files. */
export async function knownMounts(
  host: Pick<ContainerHost, "findPlaces">,
  { plan, hostPaths, mountSources, podFiles }: MountFacts,
  spec: Spec,
): Promise<KnownMount[]> {
  const asked = plan.mounts.map(async ({ source, destination }, i): Promise<KnownMount[]> => {
    switch (source.is) {
      case "host": {
        const found = hostPaths.get(source.path);
        return found === undefined || "error" in found
          ? []
          : [{ destination, what: quote(source.path), isDirectory: found.isDirectory }];
      }
      case "image": {
        const what = `${quote(source.subPath === "" ? "/" : source.subPath)} of image ${source.image}`;
        const path = mountSources[i]!;
        const [found] = await host.findPlaces(dirname(path), [basename(path)]);
        return found === undefined ? [] : [{ destination, what, isDirectory: found.isDirectory }];
      }
      case "volume":
        // Whoever fills it has looked at what the image has there.
        return [];
    }
  });
  const ofPod = (spec.mounts ?? []).filter(({ source }) => source !== undefined && podFiles.includes(source));
  return [
    ...(await Promise.all(asked)).flat(),
    ...ofPod.map(({ destination }) => ({ destination, what: "the pod's file", isDirectory: false })),
  ];
}

/**
 * Checks that directories are mounted over directories and files over files, as the kernel demands: each runtime has
 * words of its own for it. Only the image counts, so what another mount covers is left to the runtime. `destinations`
 * are those of all mounts of the container. Only for a root that nobody else changes in the meantime.
 *
 * Throws InvalidArgument.
 */
export async function checkMountKinds(
  host: Pick<ContainerHost, "findPlaces">,
  rootfs: string,
  mounts: readonly KnownMount[],
  destinations: readonly string[],
): Promise<void> {
  const paths = [...new Set([...destinations, ...mounts.map(({ destination }) => destination)])];
  const found = await placesOf(host, rootfs, paths);
  const places = new Map(paths.map((path, i) => [path, found[i]]));
  const times = new Map<string, number>();
  for (const destination of destinations) {
    const place = places.get(destination);
    const path = place === undefined || place.isAbove ? destination : place.path;
    times.set(path, (times.get(path) ?? 0) + 1);
  }
  for (const mount of mounts) {
    const place = places.get(mount.destination);
    if (place === undefined) continue;
    // Its own mount is one of those at this place; a file above the place has none of its own.
    const own = place.isAbove ? 0 : 1;
    if ((times.get(place.path) ?? 0) > own || isBelowAny(place.path, times)) continue;
    const problem = problemOf(place, mount);
    if (problem !== undefined)
      throw new StatusError(Code.InvalidArgument, `mount at ${quote(mount.destination)} in the container: ${problem}`);
  }
}

async function placesOf(
  host: Pick<ContainerHost, "findPlaces">,
  rootfs: string,
  paths: readonly string[],
): Promise<(Place | undefined)[]> {
  try {
    return await host.findPlaces(rootfs, paths);
  } catch (error) {
    if (!isErrno(error, "ELOOP")) throw error;
    throw new StatusError(
      Code.InvalidArgument,
      `mount at ${quote(error.path ?? "")} in the container: it leads through too many links of the image`,
      error,
    );
  }
}

function problemOf(place: Place, { isDirectory, what }: KnownMount): string | undefined {
  if (place.isAbove)
    return place.isDirectory
      ? undefined
      : `the image has a file at ${quote(place.path)}, and nothing can be below a file; choose another path`;
  if (place.isDirectory === isDirectory) return undefined;
  return isDirectory
    ? `${what} is a directory, and the image has a file there; a directory can only be mounted over a directory: choose another path, or mount a file`
    : `${what} is a file, and the image has a directory there; a file can only be mounted over a file: choose another path, such as one in that directory, or mount a directory`;
}

function isBelowAny(path: string, places: ReadonlyMap<string, number>): boolean {
  for (let at = path; at !== "/";) {
    at = dirname(at);
    if (at !== "/" && places.has(at)) return true;
  }
  return false;
}
