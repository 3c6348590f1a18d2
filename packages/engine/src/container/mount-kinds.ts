import { lstatSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import { quote } from "@keelson/plan/field-check.ts";
import { resolveInRoot } from "../machine/root-file.ts";

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

/** The mounts of a container's config, and those of its pod's files. Touches no file system of a host path. */
export function knownMounts({ plan, hostPaths, mountSources, podFiles }: MountFacts, spec: Spec): KnownMount[] {
  const asked = plan.mounts.flatMap(({ source, destination }, i): KnownMount[] => {
    switch (source.is) {
      case "host": {
        const found = hostPaths.get(source.path);
        return found === undefined || "error" in found
          ? []
          : [{ destination, what: quote(source.path), isDirectory: found.isDirectory }];
      }
      case "image": {
        const what = `${quote(source.subPath === "" ? "/" : source.subPath)} of image ${source.image}`;
        return [{ destination, what, isDirectory: statSync(mountSources[i]!).isDirectory() }];
      }
      case "volume":
        // Whoever fills it has looked at what the image has there.
        return [];
    }
  });
  const ofPod = (spec.mounts ?? []).filter(({ source }) => source !== undefined && podFiles.includes(source));
  return [...asked, ...ofPod.map(({ destination }) => ({ destination, what: "the pod's file", isDirectory: false }))];
}

/**
 * Checks that directories are mounted over directories and files over files, as the kernel demands: each runtime has
 * words of its own for it. Only the image counts, so what another mount covers is left to the runtime. `destinations`
 * are those of all mounts of the container. Only for a root that nobody else changes in the meantime.
 *
 * Throws InvalidArgument.
 */
export function checkMountKinds(rootfs: string, mounts: readonly KnownMount[], destinations: readonly string[]): void {
  const resolve = resolver(rootfs);
  const resolved = destinations.map((path) => resolve(path) ?? path);
  const times = new Map<string, number>();
  for (const path of resolved) times.set(path, (times.get(path) ?? 0) + 1);
  for (const mount of mounts) {
    const place = placeOf(rootfs, mount.destination, resolve);
    if (place === undefined) continue;
    // Its own mount is one of those at this place; a file above the place has none of its own.
    const own = place.isAbove ? 0 : 1;
    if ((times.get(place.path) ?? 0) > own || isBelowAny(place.path, times)) continue;
    const problem = problemOf(place, mount);
    if (problem !== undefined)
      throw new StatusError(Code.InvalidArgument, `mount at ${quote(mount.destination)} in the container: ${problem}`);
  }
}

type Resolve = (path: string) => string | undefined;

/** Looks each path up once: of a thousand mounts, most are in the same few directories. */
function resolver(rootfs: string): Resolve {
  const known = new Map<string, string | undefined>();
  return (path) => {
    if (!known.has(path)) known.set(path, resolveInRoot(rootfs, path));
    return known.get(path);
  };
}

interface Place {
  /** Without links. */
  readonly path: string;
  readonly isDirectory: boolean;
  /** Whether this is not the mount's place, which does not exist, but the nearest path above it that does. */
  readonly isAbove: boolean;
}

/** Undefined when nothing can be said of it. */
function placeOf(rootfs: string, destination: string, resolve: Resolve): Place | undefined {
  for (let at = destination; at !== "/"; at = dirname(at)) {
    const path = resolve(at);
    if (path === undefined) continue;
    const isDirectory = isDirectoryAt(join(rootfs, path));
    return isDirectory === undefined ? undefined : { path, isDirectory, isAbove: at !== destination };
  }
  return undefined;
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

function isDirectoryAt(path: string): boolean | undefined {
  try {
    return lstatSync(path).isDirectory();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}
