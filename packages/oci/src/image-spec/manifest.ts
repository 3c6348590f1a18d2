import { Code, StatusError } from "@keelson/base/status.ts";
import { Document } from "./document.ts";
import { isDockerSchema1, isLayerMediaType, manifestMediaTypes } from "./media-type.ts";

/** The largest manifest or index that is read: what registries accept (distribution-spec "Pushing Manifests"). */
export const manifestLimitBytes = 4 * 1024 * 1024;
const layersLimit = 1000;
const manifestsLimit = 4096;

/** Refers to content by its digest (image-spec descriptor.md). */
export interface Descriptor {
  mediaType: string;
  digest: string;
  sizeBytes: number;
}

/** An operating system and processor (image-index.md#image-index-property-descriptions). */
export interface Platform {
  os: string;
  architecture: string;
  /** Such as `v8` for arm64 or `v3` for amd64; empty when there is none. */
  variant: string;
}

export interface Manifest {
  is: "manifest";
  mediaType: string;
  config: Descriptor;
  /** Lowest first. */
  layers: Descriptor[];
}

export interface Index {
  is: "index";
  mediaType: string;
  manifests: (Descriptor & { platform: Platform | undefined })[];
}

/**
 * Parses an OCI manifest or index, or Docker's schema 2 form of either. `mediaType` is the one that the registry sent,
 * or "". Throws InvalidArgument for anything else, Unimplemented for Docker's schema 1.
 */
export function parseManifest(bytes: Uint8Array, mediaType: string): Manifest | Index {
  const document = Document.parse(bytes, "manifest", manifestLimitBytes);
  const type = document.at("mediaType").optional((d) => d.string()) ?? mediaType;
  const version = document.at("schemaVersion").optional((d) => d.size());
  if (isDockerSchema1(type) || isDockerSchema1(mediaType) || version === 1) {
    throw new StatusError(
      Code.Unimplemented,
      "manifest: it has Docker's schema 1, which is obsolete; push the image again with a current tool",
    );
  }
  if (version !== 2) throw document.at("schemaVersion").wrong("must be 2");
  // A document that could be read as either would be two images (CVE-2021-41190).
  const isIndex = !document.at("manifests").absent;
  if (isIndex && !(document.at("layers").absent && document.at("config").absent))
    throw document.wrong(": has both manifests and layers");
  if (isIndex !== isIndexType(type, isIndex)) throw document.wrong(`: its content does not fit its media type ${type}`);
  return isIndex ? index(document, type) : manifest(document, type);
}

/** Throws InvalidArgument when the manifest is not that of a container image but, say, of a Helm chart. */
export function checkIsImage(manifest: Manifest): void {
  for (const layer of manifest.layers) {
    if (layer.mediaType.endsWith("+encrypted"))
      throw new StatusError(Code.Unimplemented, `manifest: layer ${layer.digest} is encrypted, which is not supported`);
    if (!isLayerMediaType(layer.mediaType)) {
      throw new StatusError(
        Code.InvalidArgument,
        `manifest: layer ${layer.digest} has the media type ${JSON.stringify(layer.mediaType)}: this is not a container image`,
      );
    }
  }
}

function isIndexType(type: string, otherwise: boolean): boolean {
  if (type === manifestMediaTypes.ociIndex || type === manifestMediaTypes.dockerList) return true;
  if (type === manifestMediaTypes.ociManifest || type === manifestMediaTypes.dockerManifest) return false;
  return otherwise;
}

function manifest(document: Document, type: string): Manifest {
  return {
    is: "manifest",
    mediaType: type === "" ? manifestMediaTypes.ociManifest : type,
    config: descriptor(document.at("config")),
    layers: document.at("layers").list(layersLimit).map(descriptor),
  };
}

function index(document: Document, type: string): Index {
  return {
    is: "index",
    mediaType: type === "" ? manifestMediaTypes.ociIndex : type,
    manifests: document
      .at("manifests")
      .list(manifestsLimit)
      .map((entry) => ({ ...descriptor(entry), platform: entry.at("platform").optional(platform) })),
  };
}

function descriptor(document: Document): Descriptor {
  return {
    mediaType: document.at("mediaType").string(256),
    digest: document.at("digest").digest(),
    sizeBytes: document.at("size").size(),
  };
}

function platform(document: Document): Platform {
  return {
    os: document.at("os").string(64),
    architecture: document.at("architecture").string(64),
    variant: document.at("variant").optional((d) => d.string(64)) ?? "",
  };
}
