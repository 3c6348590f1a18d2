import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { directory, file, hardLink, tar, type TarEntry } from "./tar.ts";

/** Bytes that a registry serves under their digest. */
export interface Blob {
  readonly mediaType: string;
  /** `sha256:…` of the bytes. */
  readonly digest: string;
  readonly bytes: Buffer;
}

/** A layer: its blob, and the digest of the tar archive inside (the config's `diff_ids`). */
export interface Layer extends Blob {
  readonly diffId: string;
  readonly tar: Buffer;
}

/** An image for one platform. Its ID, for the CRI and Docker, is the digest of `config`. */
export interface Image {
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly Layer[];
  readonly platform: Platform;
}

/** Images for several platforms under one digest. */
export interface ImageIndex {
  readonly manifest: Blob;
  readonly images: readonly Image[];
}

export interface Platform {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
}

/** The part of the image config that says how to run it (OCI image spec, config.md). */
export interface ImageRunConfig {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
}

export type Compression = "none" | "gzip" | "zstd";
export type Format = "oci" | "docker";

const mediaTypes = {
  oci: {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    index: "application/vnd.oci.image.index.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: {
      none: "application/vnd.oci.image.layer.v1.tar",
      gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
      zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
    },
  },
  docker: {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: {
      none: "application/vnd.docker.image.rootfs.diff.tar",
      gzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
      zstd: "application/vnd.docker.image.rootfs.diff.tar.zstd",
    },
  },
} as const;

/** `sha256:…` of bytes or of a text's UTF-8. */
export function digestOf(bytes: string | Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Makes a layer from tar entries, or from an archive as it is. */
export function makeLayer(
  content: readonly TarEntry[] | Buffer,
  options: { readonly compression?: Compression; readonly format?: Format } = {},
): Layer {
  const { compression = "gzip", format = "oci" } = options;
  const archive = Buffer.isBuffer(content) ? content : tar(content);
  const bytes =
    compression === "gzip"
      ? gzipSync(archive, { level: 1 })
      : compression === "zstd"
        ? zstdCompressSync(archive)
        : archive;
  return { ...blob(mediaTypes[format].layer[compression], bytes), diffId: digestOf(archive), tar: archive };
}

/** Makes an image from its layers, lowest first. The same input gives the same digests. */
export function makeImage(
  layers: readonly Layer[],
  options: {
    readonly config?: ImageRunConfig;
    readonly platform?: Platform;
    readonly format?: Format;
    readonly annotations?: Readonly<Record<string, string>>;
  } = {},
): Image {
  const { format = "oci", platform = { architecture: "amd64", os: "linux" } } = options;
  const created = "2024-01-01T00:00:00Z";
  const config = jsonBlob(mediaTypes[format].config, {
    created,
    ...platform,
    config: options.config ?? {},
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((_, index) => ({ created, created_by: `keelson testkit layer ${index}` })),
  });
  const manifest = jsonBlob(mediaTypes[format].manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes[format].manifest,
    config: descriptor(config),
    layers: layers.map(descriptor),
    ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
  });
  return { manifest, config, layers, platform };
}

/** Makes an index (OCI) or a manifest list (Docker) of images for several platforms. */
export function makeIndex(images: readonly Image[], format: Format = "oci"): ImageIndex {
  const manifest = jsonBlob(mediaTypes[format].index, {
    schemaVersion: 2,
    mediaType: mediaTypes[format].index,
    manifests: images.map((image) => ({ ...descriptor(image.manifest), platform: image.platform })),
  });
  return { manifest, images };
}

/**
 * A small Linux: Debian's static busybox with a hard link in /bin for each applet, users root, www-data and
 * nobody, and an empty /tmp, /root, /var, /run, /proc, /sys and /dev. `extra` comes on top of it in the same layer.
 */
export function busyboxImage(
  options: {
    readonly config?: ImageRunConfig;
    readonly extra?: readonly TarEntry[];
    readonly compression?: Compression;
    readonly format?: Format;
  } = {},
): Image {
  const { compression = "gzip", format = "oci" } = options;
  const layer = makeLayer([...busyboxRoot(), ...(options.extra ?? [])], { compression, format });
  return makeImage([layer], { format, config: { Cmd: ["sh"], Env: ["PATH=/bin"], ...options.config } });
}

/** The entries of `busyboxImage`, for images with other layers. */
export function busyboxRoot(busybox = "/bin/busybox"): TarEntry[] {
  const applets = execFileSync(busybox, ["--list"], { encoding: "utf8" })
    .split("\n")
    .filter((name) => name !== "" && name !== "busybox");
  return [
    ...["bin", "dev", "etc", "home", "proc", "run", "sys", "usr", "var", "var/www"].map((path) =>
      directory(`${path}/`),
    ),
    directory("root/", { mode: 0o700 }),
    directory("tmp/", { mode: 0o1777 }),
    file("bin/busybox", readFileSync(busybox), { mode: 0o755 }),
    ...applets.map((name) => hardLink(`bin/${name}`, "bin/busybox", { mode: 0o755 })),
    file(
      "etc/passwd",
      "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    ),
    file("etc/group", "root:x:0:\nwww-data:x:33:\nusers:x:100:www-data,nobody\nnogroup:x:65534:\n"),
  ];
}

/**
 * An image for measurements: each layer has `files` files with `bytes` bytes in total, half of each file like text and
 * half noise, so that gzip reduces it to about two thirds. The same seed gives the same image.
 */
export function randomImage(
  options: {
    readonly layers?: number;
    readonly files?: number;
    readonly bytes?: number;
    readonly seed?: number;
    readonly compression?: Compression;
  } = {},
): Image {
  const { layers = 1, files = 100, bytes = 1 << 20, seed = 1, compression = "gzip" } = options;
  const next = xorshift(seed);
  const fill = (data: Buffer): Buffer => {
    for (let at = 0; at < data.length; at += 4) {
      const value = next();
      if (at * 2 < data.length && at + 4 <= data.length) data.writeUInt32LE(value, at);
      else data.fill(97 + (value % 4), at, Math.min(at + 4, data.length));
    }
    return data;
  };
  return makeImage(
    Array.from({ length: layers }, (_, layer) => {
      const entries: TarEntry[] = [directory(`data${layer}/`)];
      for (let index = 0; index < files; index++) {
        if (index % 100 === 0) entries.push(directory(`data${layer}/${index / 100}/`));
        const size = Math.floor(bytes / files) + (index < bytes % files ? 1 : 0);
        entries.push(file(`data${layer}/${Math.floor(index / 100)}/file${index}`, fill(Buffer.alloc(size))));
      }
      return makeLayer(entries, { compression });
    }),
  );
}

function xorshift(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

function blob(mediaType: string, bytes: Buffer): Blob {
  return { mediaType, digest: digestOf(bytes), bytes };
}

function jsonBlob(mediaType: string, value: unknown): Blob {
  return blob(mediaType, Buffer.from(JSON.stringify(value)));
}

function descriptor({ mediaType, digest, bytes }: Blob): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest, size: bytes.length };
}
