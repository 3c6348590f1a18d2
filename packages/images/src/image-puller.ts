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
  /** Of the daemon; kept blobs are in ROOT/blobs. */
  root: string;
  store: ImageStore;
  workers: LayerWorkers;
  /** For manifests; layers are fetched by the workers' own. */
  transport: Transport;
  /** Directories with `REGISTRY/hosts.toml`, the first that has a file for a registry counts. */
  hostsDirectories: readonly string[];
  platform: Platform;
  maxParallelDownloads: number;
  layerLimits: LayerLimits;
  /** Keep the compressed layers too. */
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
  /** Told of each stage, if this call is the first of those that share the pull. */
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
    });
  }

  /**
   * Pulls an image and returns its record. Calls for the same image with the same credentials share
   * one pull; pulls that have layers in common share those. When the signal aborts, the pull ends
   * unless another call waits for it, and nothing of it is left.
   *
   * Throws InvalidArgument for a wrong reference or a malformed image, NotFound, Unauthenticated,
   * PermissionDenied, ResourceExhausted or Unavailable as the registry answers, DataLoss for wrong
   * bytes, and DeadlineExceeded or Cancelled with the stage it was in.
   */
  async pull(request: PullRequest): Promise<ImageRecord> {
    const reference = parseReference(request.reference);
    const name = formatReference(reference);
    // Not for whoever has other credentials: the one pull's success says nothing about the other's right.
    const key = `${name} ${createHash("sha256")
      .update(JSON.stringify(request.credentials ?? null))
      .digest("hex")}`;
    try {
      return await this.#calls.join(key, request.signal, (signal, tell) => {
        const stage: Stage = (name) => {
          request.stage?.(name);
          tell(name);
        };
        return this.#run(reference, request.credentials, signal, stage);
      });
    } catch (error) {
      throw wrapError(`pull image ${name}`, error);
    }
  }

  /** Compressed bytes of layers that came from registries since the start. */
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
   * When there is an image by this name already, asking for the digest is enough: that counts
   * nothing against a registry's rate limit, and an image that is still the same needs no more.
   */
  async #pullKnown(pull: Pull, signal: AbortSignal): Promise<ImageRecord | undefined> {
    const { store } = this.#options;
    if (store.find(formatReference(pull.reference)) === undefined) return undefined;
    const digest = await this.#resolve(pull, signal);
    return digest === undefined ? undefined : this.#addName(pull, digest);
  }

  /** Gives another name to an image that is here; undefined when it is not, or no longer whole. */
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
      // Some registries know no HEAD; what the name really answers is then seen with GET.
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
    // From here to `add` the layers belong to this pull alone, or to nobody when it fails.
    using _ = this.#options.store.pin(layers);
    this.#options.store.layers.lookAgain(layers);
    try {
      await this.#fetcher.fetchAll(client.access(), pull.wanted, signal);
    } catch (error) {
      this.#collectAfterFailure(layers);
      throw error;
    }
    return this.#options.store.add(
      { id: manifest.config.digest, manifestDigest: digest, layers, pulledAtMs: this.#options.now(), config },
      name,
    );
  }

  /** An index names a manifest for each platform; this takes the host's. */
  async #manifestForHost(
    client: RepositoryClient,
    resolved: ResolvedManifest,
    signal: AbortSignal,
  ): Promise<{ manifest: Manifest; digest: string }> {
    let { bytes, mediaType, digest } = resolved;
    // An index may hold an index, which builders of artifacts use; more than this nobody does.
    for (let depth = 0; depth < 3; depth += 1) {
      const document = parseManifest(bytes, mediaType);
      if (document.is === "manifest") return { manifest: document, digest };
      const chosen = chooseManifest(document, this.#options.platform);
      if (chosen === undefined) {
        throw new StatusError(
          Code.NotFound,
          `the image has nothing for ${platformName(this.#options.platform)}, only for: ${platformNames(document)}`,
        );
      }
      ({ bytes, mediaType, digest } = await client.manifest(chosen.digest, signal));
    }
    throw new StatusError(Code.InvalidArgument, "its index leads from index to index");
  }

  /** Layers that came in before another one failed belong to no image. */
  #collectAfterFailure(layers: readonly string[]): void {
    if (layers.some((id) => this.#options.store.layers.get(id) !== undefined))
      setImmediate(() => this.#options.store.collectGarbage());
  }
}

function wantedOf(reference: Reference): string {
  return reference.digest ?? reference.tag ?? "latest";
}

/** A digest decides what the content is; a tag given beside it may mean something else by now and is not kept. */
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
