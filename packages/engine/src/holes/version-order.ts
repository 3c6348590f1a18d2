/** The longest version that is looked at. Longer ones are not versions. */
const maxVersionLength = 100;

/**
 * A version in the form that `compareVersions` orders, or undefined for what is not a version. Understands what the
 * programs print, `1.2.8`, `v1.4.0-rc.3`, `release-20250319.0`, `1.1.5+ds1`, `0.0~20240729.0`.
 */
export function parseVersion(text: string): string | undefined {
  if (text.length > maxVersionLength) return undefined;
  const version = /^(?:release-|v)?(\d[\w.+~-]*)$/.exec(text)?.[1];
  return (
    version
      // Debian's number for a program that has dates alone.
      ?.replace(/^0\.0~(?=\d{8})/, "")
      // What comes before a release is sorted before it.
      .replace(/[-.]?(?=(?:alpha|beta|dev|pre|rc)[.\d]*(?:$|[^a-z]))/, "~")
      .replace("~~", "~")
  );
}

/** A package's version without its epoch and the revision of the distribution: what its program has. */
export function upstreamOf(packageVersion: string): string | undefined {
  if (packageVersion.length > maxVersionLength) return undefined;
  return parseVersion(packageVersion.replace(/^\d+:/, "").replace(/-[^-]*$/, ""));
}

/** Below, at or above 0, in the order of deb-version(7), epochs and revisions included. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [partsOf(a), partsOf(b)];
  return (
    left.epoch - right.epoch ||
    compareParts(left.upstream, right.upstream) ||
    compareParts(left.revision, right.revision)
  );
}

function partsOf(version: string): { epoch: number; upstream: string; revision: string } {
  const [, epoch = "0", upstream = "", revision = ""] = /^(?:(\d{1,9}):)?(.*?)(?:-([^-]*))?$/.exec(version) ?? [];
  return { epoch: Number(epoch), upstream, revision };
}

/** Text and numbers by turns; `~` is before everything, even the end. */
function compareParts(a: string, b: string): number {
  const [left, right] = [turnsOf(a), turnsOf(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const [x, y] = [left[i] ?? "", right[i] ?? ""];
    const order = i % 2 === 0 ? compareTexts(x, y) : compareNumbers(x, y);
    if (order !== 0) return order;
  }
  return 0;
}

function turnsOf(version: string): string[] {
  const turns: string[] = version.match(/\D+|\d+/g) ?? [];
  return /^\d/.test(version) ? ["", ...turns] : turns;
}

/** With digits of any number: a version may have more than a number can hold. */
function compareNumbers(a: string, b: string): number {
  const [x, y] = [a.replace(/^0+/, ""), b.replace(/^0+/, "")];
  return x.length - y.length || (x < y ? -1 : Number(x > y));
}

function compareTexts(a: string, b: string): number {
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const order = rankOf(a[i]) - rankOf(b[i]);
    if (order !== 0) return order;
  }
  return 0;
}

function rankOf(character: string | undefined): number {
  if (character === "~") return -1;
  if (character === undefined) return 0;
  return /[A-Za-z]/.test(character) ? character.charCodeAt(0) : character.charCodeAt(0) + 256;
}
