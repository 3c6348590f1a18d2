/** The media types of the manifests that we accept from registries (media-types.md, and Docker's schema 2). */
export const manifestMediaTypes = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;

/** Whether this is Docker's oldest format, signed JSON without a config, which current registries no longer serve. */
export function isDockerSchema1(mediaType: string): boolean {
  return mediaType.startsWith("application/vnd.docker.distribution.manifest.v1+");
}

/**
 * Whether a blob of this type is a layer that can be unpacked. Its compression is recognised by its first bytes, as the
 * media type is wrong often enough.
 */
export function isLayerMediaType(mediaType: string): boolean {
  return (
    /^application\/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?$/.test(mediaType) ||
    /^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?$/.test(mediaType)
  );
}
