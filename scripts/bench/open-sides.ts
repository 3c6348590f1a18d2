import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createCriClient } from "@keelson/cri/client.ts";
import {
  ListImagesRequest,
  PodSandboxStatusRequest,
  RemoveImageRequest,
  RemovePodSandboxRequest,
  StatusRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Registry } from "@keelson/testkit/registry.ts";
import { runtimeHandlers } from "@keelson/testkit/runtime-handlers.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { DaemonProcess } from "../daemon-process.ts";
import { keelsondOf, type PodNetwork, removePodNetwork, startKeelsond, writePodNetwork } from "../keelsond.ts";
import { removePodCgroup } from "../pod-cgroup.ts";
import { removePods } from "../remove-pods.ts";
import { makePauseImage, startContainerd } from "./containerd.ts";
import { findProgram, programVersion } from "./find-program.ts";
import { listenerOf } from "./listener.ts";
import type { BenchOptions } from "./options.ts";
import { PluginDir } from "./plugin-dir.ts";
import { benchLabels, podConfig, runPod } from "./round.ts";
import { SideCgroup } from "./side-cgroup.ts";
import { call, type Side, versionOf } from "./side.ts";

/** What is needed to open the sides. */
export interface Ground {
  /** Temporary; each side gets its own directory in it. */
  readonly dir: string;
  readonly registry: Registry;
  readonly options: BenchOptions;
  /** Ctrl-C. */
  readonly signal: AbortSignal;
  /** Takes the sides down again, the last one first. */
  readonly undo: AsyncDisposableStack;
}

/** Our side and, if wanted, the peer's, both ready to run pods. */
export async function openSides(ground: Ground): Promise<Side[]> {
  const { options } = ground;
  const sides = [await openOurs(ground)];
  if (options.hasPeer)
    sides.push(options.peer === undefined ? await openContainerd(ground) : await openRunning(ground, options.peer));
  return sides;
}

async function openOurs(ground: Ground): Promise<Side> {
  const { dir, options, undo, signal } = ground;
  const own = join(dir, "keelsond");
  const { network, plugins } = openNetwork(ground, own, "keelbench0", "10.71.0");
  const sections = options.only.has("handlers")
    ? runtimeHandlers()
        .map(({ section }) => section)
        .join("")
    : "";
  const daemon = undo.use(await startKeelsond(own, network, signal, { command: keelsondOf.dist, sections }));
  // A peer outside the sandbox chooses its own cgroups; then keelsond does so too.
  const cgroup = options.peer === undefined ? openCgroup(ground, "keelson-bench-ours", daemon) : undefined;
  const { version } = await versionOf(daemon.client);
  const side: Side = {
    name: "keelsond",
    client: daemon.client,
    endpoint: daemon.endpoint,
    pid: daemon.pid,
    cgroup,
    cgroupParent: cgroup?.podParent ?? "",
    handler: options.handler,
    runs: "",
    logDirectory: join(own, "logs"),
    plugins,
    signal,
  };
  await makeReady(ground, side, () => daemon.end("SIGTERM"));
  const handler = await handlerOf(side);
  return {
    ...side,
    runs: `${version} on Node ${process.versions.node}, with ${programVersion(handler)} and ${programVersion("conmon")}`,
  };
}

async function openContainerd(ground: Ground): Promise<Side> {
  const { dir, registry, undo, signal } = ground;
  if (findProgram("containerd") === undefined)
    throw new Error("containerd is not installed: `npm run bench` installs it, --no-peer measures without it");
  const own = join(dir, "containerd");
  const { network, plugins } = openNetwork(ground, own, "ctrdbench0", "10.72.0");
  const pause = registry.add("pause", "bench", makePauseImage(own));
  const daemon = undo.use(
    await startContainerd({ dir: own, network, registry: registry.host, pauseImage: pause }, signal),
  );
  const cgroup = openCgroup(ground, "keelson-bench-peer", daemon);
  const { version } = await versionOf(daemon.client);
  const side: Side = {
    name: "containerd",
    client: daemon.client,
    endpoint: daemon.endpoint,
    pid: daemon.pid,
    cgroup,
    cgroupParent: cgroup.podParent,
    handler: "",
    runs: `${version}, with ${programVersion("runc")}, and a shim and a pause process for each pod`,
    logDirectory: join(own, "logs"),
    plugins,
    signal,
  };
  await makeReady(ground, side, () => daemon.end("SIGTERM"));
  return side;
}

/** A runtime that is already running, outside any sandbox. */
async function openRunning(ground: Ground, endpoint: string): Promise<Side> {
  const { dir, undo, signal } = ground;
  const client = createCriClient(endpoint);
  undo.defer(() => client.close());
  const { name, version } = await versionOf(client);
  const logDirectory = join(dir, "peer/logs");
  const side: Side = {
    name,
    client,
    endpoint,
    pid: listenerOf(endpoint),
    cgroup: undefined,
    cgroupParent: "",
    handler: "",
    runs: `${version} at ${endpoint}, with its own OCI runtime, pod network and cgroups`,
    logDirectory,
    plugins: undefined,
    signal,
  };
  await makeReady(ground, side, async () => undefined);
  return side;
}

/** Waits until Status is ready. At the end, removes what the bench created on this side, then ends its daemon. */
async function makeReady({ registry, undo }: Ground, side: Side, end: () => Promise<void>): Promise<void> {
  let missing = "";
  await waitFor(
    async () => {
      const { status } = await call(side, "status", StatusRequest.fromPartial({}));
      const unmet = (status?.conditions ?? []).filter((condition) => !condition.status);
      missing = unmet.map(({ type, reason, message }) => `${type} is false: ${reason} ${message}`).join("; ");
      return unmet.length === 0;
    },
    { message: () => `${side.name}: ${missing}` },
  );
  mkdirSync(side.logDirectory, { recursive: true });
  undo.defer(async () => {
    await removePods(side.client, benchLabels);
    await removeImages(side, registry.host);
    await end();
  });
}

/** Removes the images of our registry; a peer may have others. Without `call`, which Ctrl-C would end. */
async function removeImages({ client }: Side, registryHost: string): Promise<void> {
  const { images } = await client.call("listImages", ListImagesRequest.fromPartial({}), AbortSignal.timeout(10_000));
  for (const image of images.flatMap(({ repoTags }) => repoTags).filter((tag) => tag.startsWith(`${registryHost}/`))) {
    await client.call("removeImage", RemoveImageRequest.fromPartial({ image: { image } }), AbortSignal.timeout(60_000));
  }
}

function openNetwork(
  { undo }: Ground,
  dir: string,
  bridge: string,
  subnet: string,
): { network: PodNetwork & { binDir: string }; plugins: PluginDir } {
  const network = writePodNetwork(join(dir, "cni"), bridge, subnet);
  undo.defer(() => removePodNetwork(network));
  const plugins = new PluginDir(join(dir, "cni"));
  return { network: { ...network, binDir: plugins.path }, plugins };
}

function openCgroup({ undo }: Ground, name: string, daemon: DaemonProcess): SideCgroup {
  undo.defer(async () => {
    await daemon[Symbol.asyncDispose]();
    removePodCgroup(name);
  });
  const cgroup = new SideCgroup(name);
  cgroup.add(daemon.pid);
  return cgroup;
}

/** The handler that pods get by default, as a verbose PodSandboxStatus reports it. */
async function handlerOf(side: Side): Promise<string> {
  const { podSandboxId } = await runPod(side, podConfig(side, "probe"));
  const { info } = await call(
    side,
    "podSandboxStatus",
    PodSandboxStatusRequest.fromPartial({ podSandboxId, verbose: true }),
  );
  await call(side, "stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId }));
  await call(side, "removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId }));
  return (JSON.parse(info["info"] ?? "{}") as { handler?: string }).handler ?? "its default runtime";
}
