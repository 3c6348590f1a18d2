import { createHash } from "node:crypto";
import { join } from "node:path";
import { JoinedCalls, type Stage } from "@keelson/base/joined-calls.ts";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, StatusError, wrapError } from "@keelson/base/status.ts";
import type { Credentials } from "@keelson/oci/distribution/authorizer.ts";
import { registryHosts } from "@keelson/oci/distribution/hosts.ts";
import { RepositoryClient, type ResolvedManifest } from "@keelson/oci/distribution/repository-client.ts";
import type { Transport } from "@keelson/oci/distribution/transport.ts";
import { configLimitBytes, type ImageConfig, parseImageConfig } from "@keelson/oci/image-spec/config.ts";
import { chainIds } from "@keelson/oci/image-spec/digest.ts";
import { checkIsImage, type Manifest, parseManifest, type Platform } from "@keelson/oci/image-spec/manifest.ts";
import { chooseManifest, platformName, platformNames } from "@keelson/oci/image-spec/platform.ts";
import { formatReference, parseReference, type Reference, repositoryOf } from "@keelson/oci/reference.ts";
import type { ImageName, ImageStore } from "./image-store.ts";
import { LayerFetcher, type WantedLayer } from "./layer-fetcher.ts";
import type { LayerWorkers } from "./layer-workers.ts";
import type { PullProgress } from "./pull-progress.ts";
import type { ImageRecord } from "./record.ts";
import type { LayerLimits } from "./unpack/layer-limits.ts";

export interface ImagePullerOptions {
  /** The daemon's; kept blobs are in ROOT/blobs. */
  root: string;
  store: ImageStore;
  workers: LayerWorkers;
  /** For manifests; the workers have their own for layers. */
  transport: Transport;
  /** Directories with `REGISTRY/hosts.toml`; the first one with a file for a registry is used. */
  hostsDirectories: readonly string[];
  platform: Platform;
  maxParallelDownloads: number;
  layerLimits: LayerLimits;
  /** Keep compressed layers too. */
  keepLayers: boolean;
  log: Log;
  /** Milliseconds since 1970. */
  now: () => number;
}

export interface PullRequest {
  /** As the user wrote it. */
  reference: string;
  credentials?: Credentials | undefined;
  signal: AbortSignal;
  /** Called at the start of each stage, but only for the first of the calls that share a pull. */
  stage?: Stage;
}

interface Pull {
  reference: Reference;
  client: RepositoryClient;
  progress: PullProgress;
  wanted: WantedLayer[];
  stage: Stage;
}

/** Pulls images into the store. */
export class ImagePuller {
  readonly #options: ImagePullerOptions;
  readonly #fetcher: LayerFetcher;
  readonly #calls = new JoinedCalls<ImageRecord>(0);
  readonly #pulls = new Set<Pull>();

  constructor(options: ImagePullerOptions) {
    const { store, workers, maxParallelDownloads, layerLimits: limits, root, keepLayers, log } = options;
    this.#options = options;
    const blobsDirectory = keepLayers ? join(root, "blobs") : undefined;
    this.#fetcher = new LayerFetcher({
      layers: store.layers,
      workers,
      maxParallelDownloads,
      limits,
      blobsDirectory,
      log,
      abandoned: () => this.#collectSoon(),
    });
  }

  /**
   * Pulls an image and returns its record. Calls for the same image with the same credentials share one pull, and pulls
   * with layers in common share those. When the signal aborts, the pull ends, unless another call waits for it, and
   * leaves nothing behind.
   *
   * Throws InvalidArgument for a wrong reference or a malformed image; NotFound, Unauthenticated, PermissionDenied,
   * ResourceExhausted or Unavailable depending on the registry's answer; DataLoss for wrong bytes; DeadlineExceeded or
   * Cancelled, naming the stage.
   */
  async pull(request: PullRequest): Promise<ImageRecord> {
    const reference = parseReference(request.reference);
    const name = formatReference(reference);
    // Not shared by calls with other credentials: that one of them may pull does not mean that the others may.
    const key = `${name} ${createHash("sha256")
      .update(JSON.stringify(request.credentials ?? null))
      .digest("hex")}`;
    try {
      return await this.#calls.join(key, request.signal, (signal, notify) => {
        const stage: Stage = (name) => {
          request.stage?.(name);
          notify(name);
        };
        return this.#run(reference, request.credentials, signal, stage);
      });
    } catch (error) {
      throw wrapError(`pull image ${name}`, error);
    }
  }

  /** How many bytes of compressed layers registries have sent since the start. */
  get receivedBytes(): number {
    return this.#fetcher.receivedBytes;
  }

  /** The pulls under way. */
  pullsInProgress(): PullProgress[] {
    return [...this.#pulls].map((pull) => ({
      ...pull.progress,
      layers: pull.wanted.map((layer) => this.#fetcher.progressOf(layer)),
    }));
  }

  async #run(
    reference: Reference,
    credentials: Credentials | undefined,
    signal: AbortSignal,
    stage: Stage,
  ): Promise<ImageRecord> {
    stage("resolving the name");
    this.#options.workers.warm();
    const hosts = await registryHosts(reference.domain, this.#options.hostsDirectories);
    signal.throwIfAborted();
    const client = new RepositoryClient(
      { repository: reference.path, hosts, credentials, authorizations: [] },
      { transport: this.#options.transport },
    );
    const progress: PullProgress = {
      reference: formatReference(reference),
      startedAtMs: this.#options.now(),
      stage: "resolving",
      layers: [],
    };
    const pull: Pull = { reference, client, progress, wanted: [], stage };
    this.#pulls.add(pull);
    try {
      return (await this.#pullKnown(pull, signal)) ?? (await this.#pullNew(pull, signal));
    } finally {
      this.#pulls.delete(pull);
    }
  }

  /**
   * When there already is an image by this name, it is enough to ask for the digest, which does not count against a
   * registry's rate limit. If the image is still the same, nothing else is needed.
   */
  async #pullKnown(pull: Pull, signal: AbortSignal): Promise<ImageRecord | undefined> {
    const { store } = this.#options;
    if (store.find(formatReference(pull.reference)) === undefined) return undefined;
    const digest = await this.#resolve(pull, signal);
    return digest === undefined ? undefined : this.#addName(pull, digest);
  }

  /** Adds a name to an image that we have; undefined when we do not have it, or not all of it. */
  #addName(pull: Pull, digest: string): ImageRecord | undefined {
    const { store } = this.#options;
    const image = store.findByDigest(digest);
    if (image === undefined || !store.isStillWhole(image)) return undefined;
    return store.add(image, nameOf(pull.reference, digest));
  }

  async #resolve(pull: Pull, signal: AbortSignal): Promise<string | undefined> {
    const { reference, client } = pull;
    try {
      const digest = await client.resolve(wantedOf(reference), signal);
      return reference.digest === undefined || reference.digest === digest ? digest : undefined;
    } catch (error) {
      signal.throwIfAborted();
      // Some registries do not support HEAD; GET will show the real answer.
      if (codeOf(error) === Code.FailedPrecondition) return undefined;
      throw error;
    }
  }

  async #pullNew(pull: Pull, signal: AbortSignal): Promise<ImageRecord> {
    const { client, reference } = pull;
    const resolved = await client.manifest(wantedOf(reference), signal);
    const name = nameOf(reference, resolved.digest);
    const same = this.#addName(pull, resolved.digest);
    if (same !== undefined) return same;
    pull.stage("reading the manifest");
    const { manifest, digest } = await this.#manifestForHost(client, resolved, signal);
    checkIsImage(manifest);
    pull.stage("reading the image config");
    const config = parseImageConfig(await client.smallBlob(manifest.config, configLimitBytes, signal));
    pull.wanted = wantedLayers(manifest, config);
    pull.progress.stage = "fetching layers";
    pull.stage("fetching layers");
    const layers = pull.wanted.map((layer) => layer.chainId);
    // Until `add`, only this pull needs the layers.
    using _ = this.#options.store.pin(layers);
    this.#options.store.layers.lookAgain(layers);
    try {
      await this.#fetcher.fetchAll({ access: client.access(), layers: pull.wanted }, signal);
    } catch (error) {
      // Those that were fetched before another one failed do not belong to any image.
      if (layers.some((id) => this.#options.store.layers.get(id) !== undefined)) this.#collectSoon();
      throw error;
    }
    return this.#options.store.add(
      { id: manifest.config.digest, manifestDigest: digest, layers, pulledAtMs: this.#options.now(), config },
      name,
    );
  }

  /** The manifest itself, or from an index, which has a manifest for each platform, the host's. */
  async #manifestForHost(
    client: RepositoryClient,
    resolved: ResolvedManifest,
    signal: AbortSignal,
  ): Promise<{ manifest: Manifest; digest: string }> {
    let { bytes, mediaType, digest } = resolved;
    // An index may contain an index, as made by builders of artifacts, but nobody nests more than this.
    for (let depth = 0; depth < 3; depth += 1) {
      const document = parseManifest(bytes, mediaType);
      if (document.is === "manifest") return { manifest: document, digest };
      const chosen = chooseManifest(document, this.#options.platform);
      if (chosen === undefined) {
        throw new StatusError(
          Code.NotFound,
          `the image is not available for ${platformName(this.#options.platform)}, only for: ${platformNames(document)}`,
        );
      }
      ({ bytes, mediaType, digest } = await client.manifest(chosen.digest, signal));
    }
    throw new StatusError(Code.InvalidArgument, "its indexes are nested too deeply");
  }

  /** Once the pull that failed no longer protects its layers. */
  #collectSoon(): void {
    setImmediate(() => this.#options.store.collectGarbage());
  }
}

function wantedOf(reference: Reference): string {
  return reference.digest ?? reference.tag ?? "latest";
}

/**
 * A tag beside a digest is not kept: the digest alone determines the content, and by now the tag may mean another one.
 */
function nameOf(reference: Reference, digest: string): ImageName {
  return {
    repoTag: reference.digest === undefined ? formatReference(reference) : undefined,
    repoDigest: `${repositoryOf(reference)}@${digest}`,
  };
}

function wantedLayers(manifest: Manifest, config: ImageConfig): WantedLayer[] {
  if (manifest.layers.length !== config.diffIds.length) {
    throw new StatusError(
      Code.InvalidArgument,
      `the manifest has ${manifest.layers.length} layers and the image config ${config.diffIds.length}`,
    );
  }
  const chain = chainIds(config.diffIds);
  return manifest.layers.map((descriptor, index) => ({
    descriptor,
    diffId: config.diffIds[index] ?? "",
    chainId: chain[index] ?? "",
  }));
}
