import type { Descriptor, Index, Platform } from "./manifest.ts";

/**
 * The manifest in an index that suits a host best: for the same processor, with the highest variant that the host
 * supports. One without a platform is chosen when there is no other. Attestations, which builders add for the platform
 * `unknown/unknown`, never match. Undefined when nothing does.
 */
export function chooseManifest(index: Index, host: Platform): Descriptor | undefined {
  let best: { rank: number; descriptor: Descriptor } | undefined;
  for (const entry of index.manifests) {
    const rank = entry.platform === undefined ? 0 : platformRank(entry.platform, host);
    if (rank >= 0 && (best === undefined || rank > best.rank)) best = { rank, descriptor: entry };
  }
  return best?.descriptor;
}

/** The platforms in an index, for messages. */
export function platformNames(index: Index): string {
  const names = index.manifests.flatMap((m) =>
    m.platform === undefined || m.platform.os === "unknown" ? [] : [platformName(m.platform)],
  );
  return names.length === 0 ? "none" : names.slice(0, 20).join(", ");
}

export function platformName(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter((part) => part !== "").join("/");
}

/** The host's platform from Node's name of its processor; `variant` if it is known to be better than the base one. */
export function hostPlatform(arch: NodeJS.Architecture, variant = ""): Platform {
  const names: Partial<Record<NodeJS.Architecture, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };
  const base: Partial<Record<NodeJS.Architecture, string>> = { x64: "v1", arm64: "v8", arm: "v7" };
  return { os: "linux", architecture: names[arch] ?? arch, variant: variant === "" ? (base[arch] ?? "") : variant };
}

/** How well an image suits the host: the higher the better, -1 when it cannot run there. */
function platformRank(image: Platform, host: Platform): number {
  if (image.os !== host.os || image.architecture !== host.architecture) return -1;
  const need = variantNumber(image);
  const have = variantNumber(host);
  if (need === undefined || have === undefined) return image.variant === host.variant ? 1 : -1;
  return need <= have ? 1 + need : -1;
}

/** Variants are `v` and a number; none means the processor's base variant (image-index.md, platform variants). */
function variantNumber(platform: Platform): number | undefined {
  if (platform.variant === "") return { arm64: 8, arm: 7 }[platform.architecture] ?? 1;
  const match = /^v(\d{1,2})$/.exec(platform.variant);
  return match === null ? undefined : Number(match[1]);
}
