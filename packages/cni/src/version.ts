/** The versions of the CNI specification that we support, lowest first (SPEC.md, "Released versions"). */
export const specVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export type SpecVersion = (typeof specVersions)[number];

/** A configuration without `cniVersion` is from before the key was required: libcni reads it as 0.1.0. */
export const oldestVersion: SpecVersion = "0.1.0";

/** Whether this is a version of the specification that we support. */
export function isSpecVersion(version: string): version is SpecVersion {
  return (specVersions as readonly string[]).includes(version);
}

/** Whether `version` has what was introduced in `since`. */
export function isAtLeast(version: SpecVersion, since: SpecVersion): boolean {
  return specVersions.indexOf(version) >= specVersions.indexOf(since);
}

/** The highest of these that we support; undefined when there is none. SPEC.md section 1, "Version considerations". */
export function highestVersion(versions: Iterable<string>): SpecVersion | undefined {
  const offered = new Set(versions);
  return specVersions.findLast((version) => offered.has(version));
}
