/** The media types of manifests that we ask registries for (media-types.md, and Docker's schema 2). */
export const manifestMediaTypes = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;

export const configMediaTypes: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
]);

/** Docker's oldest format, signed JSON without a config: gone from every current registry. */
export function isDockerSchema1(mediaType: string): boolean {
  return mediaType.startsWith("application/vnd.docker.distribution.manifest.v1+");
}

/**
 * Whether a blob of this type is a layer that can be unpacked. How it is compressed is seen from
 * its first bytes, as the name is wrong often enough.
 */
export function isLayerMediaType(mediaType: string): boolean {
  return (
    /^application\/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?$/.test(mediaType) ||
    /^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?$/.test(mediaType)
  );
}
