import type { KnownHole } from "./known-holes.ts";
import { compareVersions, parseVersion, upstreamOf } from "./version-order.ts";

/** What is known of an installed program's version; either may be missing. */
export interface InstalledVersion {
  /** What the program says. */
  readonly own: string | undefined;
  /** Of the package that it came in, with the distribution's revision. */
  readonly package: string | undefined;
}

/** Whether a version has a hole. One that is not known has none that we know of. */
export function isVulnerable(hole: KnownHole, installed: InstalledVersion): boolean {
  const version = installed.package === undefined ? parseVersion(installed.own ?? "") : upstreamOf(installed.package);
  if (version === undefined) return false;
  const since = parseVersion(hole.since ?? "");
  if (since !== undefined && compareVersions(version, since) < 0) return false;
  return !isFixedUpstream(hole, version) && !isFixedInPackage(hole, installed.package);
}

function isFixedUpstream({ fixedIn }: KnownHole, version: string): boolean {
  return fixedIn.some((text, i) => {
    const fixed = parseVersion(text)!;
    // Branches that are newer than all of these were made with the fix.
    const counts = i === fixedIn.length - 1 || branchOf(fixed) === branchOf(version);
    return counts && compareVersions(version, fixed) >= 0;
  });
}

function isFixedInPackage({ packagesFixedIn = [] }: KnownHole, version: string | undefined): boolean {
  return (
    version !== undefined &&
    packagesFixedIn.some((fixed) => upstreamOf(fixed) === upstreamOf(version) && compareVersions(version, fixed) >= 0)
  );
}

/** "1.2" of "1.2.8". */
function branchOf(version: string): string {
  return /^\d+\.\d+/.exec(version)?.[0] ?? version;
}
