import { Document } from "./document.ts";

/** The largest image configuration that is read. */
export const configLimitBytes = 8 * 1024 * 1024;

/** What an image says about itself and about its containers' defaults (image-spec config.md). Empty means "not set". */
export interface ImageConfig {
  os: string;
  architecture: string;
  variant: string;
  /** RFC 3339, as written in the image; empty when not set. */
  created: string;
  user: string;
  /** `NAME=value`. */
  env: string[];
  entrypoint: string[];
  cmd: string[];
  workingDir: string;
  /** Such as `SIGQUIT` or `9`. */
  stopSignal: string;
  labels: Record<string, string>;
  /** Paths in the container. */
  volumes: string[];
  /** Such as `80/tcp`. */
  exposedPorts: string[];
  /** Digests of the uncompressed layers, lowest first. */
  diffIds: string[];
}

/** Parses an image configuration. Throws InvalidArgument naming the property that is wrong. */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const document = Document.parse(bytes, "image config", configLimitBytes);
  const config = document.at("config");
  const text = (d: Document, limit?: number) => d.optional((value) => value.string(limit)) ?? "";
  const rootfs = document.at("rootfs");
  if (text(rootfs.at("type")) !== "layers") throw rootfs.at("type").wrong('must be "layers"');
  return {
    os: text(document.at("os")),
    architecture: text(document.at("architecture")),
    variant: text(document.at("variant")),
    created: text(document.at("created")),
    user: text(config.at("User")),
    env: strings(config.at("Env")),
    entrypoint: strings(config.at("Entrypoint")),
    cmd: strings(config.at("Cmd")),
    workingDir: text(config.at("WorkingDir")),
    stopSignal: text(config.at("StopSignal")),
    labels: Object.fromEntries(
      config
        .at("Labels")
        .entries(10_000)
        .map(([name, value]) => [name, text(value, textLimit)]),
    ),
    volumes: config
      .at("Volumes")
      .entries(10_000)
      .map(([path]) => path),
    exposedPorts: config
      .at("ExposedPorts")
      .entries(100_000)
      .map(([port]) => port),
    diffIds: rootfs
      .at("diff_ids")
      .list(1000)
      .map((d) => d.digest()),
  };
}

/** The longest value: that of a command line. */
const textLimit = 2 * 1024 * 1024;

function strings(document: Document): string[] {
  return document.list(100_000).map((d) => d.string(textLimit));
}
