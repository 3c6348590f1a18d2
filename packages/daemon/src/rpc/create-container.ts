import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import type { Stage } from "@keelson/base/joined-calls.ts";
import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { ContainerConfig, type CreateContainerRequest, type CreateContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { ContainerRecord } from "../container/record.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import { collectSpecInput } from "../container/spec-input.ts";
import { containerTransition } from "../container/state.ts";
import { removeContainerRecord } from "../container/teardown.ts";
import type { Deps } from "../deps.ts";
import type { ImageRecord } from "../image/record.ts";
import { bundleDir, podDir } from "../paths.ts";
import { type ContainerPlan, planContainer } from "../plan/container-plan.ts";
import { containerSpec } from "../plan/container-spec.ts";
import type { PodRecord } from "../pod/record.ts";
import { shownPod } from "./pod-sandbox-status.ts";

/**
 * CRI: CreateContainer. A retry with the same config joins the call that is under way, or gets the
 * container that it made, as long as that was not started.
 */
export async function createContainer(d: Deps, req: CreateContainerRequest, signal: AbortSignal): Promise<CreateContainerResponse> {
  const { config } = req;
  if (config === undefined) throw new StatusError(Code.InvalidArgument, "config is missing");
  const pod = shownPod(d, req.podSandboxId);
  const image = requireImage(d, config);
  const handler = d.runtimes.handlerOf(pod.handler);
  const plan = planContainer({ config, pod: pod.plan, image, host: d.host, handler: handler.facts, id: d.newId() });
  const earlier = d.containers.byName(plan.nameKey);
  if (earlier?.state.is === "created" && configHash(earlier.config) === configHash(config)) return { containerId: earlier.id };
  const key = `container ${plan.nameKey} ${configHash(config)}`;
  const containerId = await d.creations.join(key, signal, (signal, stage) => bringUp(d, { plan, config, image, podId: pod.id }, signal, stage));
  return { containerId };
}

interface NewContainer {
  readonly plan: ContainerPlan;
  readonly config: ContainerConfig;
  readonly image: ImageRecord;
  readonly podId: string;
}

async function bringUp(d: Deps, c: NewContainer, signal: AbortSignal, stage: Stage): Promise<string> {
  stage("wait for other calls on the pod");
  using _ = await d.podLock.acquire(c.podId, signal);
  const pod = requireReady(d, c.podId);
  const record = newRecord(d, c, pod);
  d.containers.insert(record);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => removeContainerRecord(d, record, AbortSignal.timeout(d.cleanupTimeoutMs)));
  stage("mount the root file system");
  const rootfs = await d.containerHost.mountRootfs(record.id, d.images.lowerDirectories(record));
  const spec = makeSpec(d, c, pod, rootfs);
  d.containers.update(record.id, (r) => ({ ...r, user: userOf(spec) }));
  writeFileSync(join(bundleDir(d.paths, record.id), "process.json"), JSON.stringify(spec.process), { mode: 0o600 });
  stage(`create the container with ${pod.handler}`);
  const withTimeout = AbortSignal.any([signal, AbortSignal.timeout(d.createTimeoutMs)]);
  const processes = await d.runtimes.handlerOf(pod.handler).runtime.create(runtimeContainerOf(d, record), spec, withTimeout);
  const created = d.containers.update(record.id, (r) => ({ ...r, state: containerTransition(r.state, { type: "created", ...processes }) }));
  undo.move();
  d.exits.watch(created);
  return record.id;
}

function requireImage(d: Deps, config: ContainerConfig): ImageRecord {
  const name = config.image?.image ?? "";
  if (name === "") throw new StatusError(Code.InvalidArgument, "image.image is missing: it names the image to run");
  const image = d.images.find(name);
  if (image === undefined) throw new StatusError(Code.NotFound, `image ${name} is not here; pull it first (\`keelctl pull ${name}\`)`);
  return image;
}

function requireReady(d: Deps, podId: string): PodRecord {
  const pod = d.pods.require(podId);
  if (pod.state.is !== "ready") throw new StatusError(Code.FailedPrecondition, `pod sandbox ${podId} is not ready: it was stopped; run a new one`);
  return pod;
}

function newRecord(d: Deps, { plan, config, image, podId }: NewContainer, pod: PodRecord): ContainerRecord {
  return {
    id: plan.id,
    name: plan.nameKey,
    podId,
    config,
    imageId: image.id,
    layers: image.layers,
    handler: pod.handler,
    logPath: plan.logPath ?? "",
    cgroupPath: plan.cgroup.path,
    stopSignal: { name: plan.stopSignal.name, number: plan.stopSignal.number },
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: config.linux?.resources,
    createdAtNs: d.nowNs(),
    bootId: d.bootId,
    state: { is: "creating" },
  };
}

function makeSpec(d: Deps, c: NewContainer, pod: PodRecord, rootfs: string): Spec {
  try {
    const handler = d.runtimes.handlerOf(pod.handler);
    return containerSpec(
      collectSpecInput({
        plan: c.plan,
        pod: pod.plan,
        podDir: podDir(d.paths, pod.id),
        host: d.host,
        rootfs,
        targetPid: targetPid(d, c.plan, pod.id),
        privilegedWithoutHostDevices: handler.privilegedWithoutHostDevices,
      }),
    );
  } catch (error) {
    throw wrapError(`create container ${c.plan.metadata.name}`, error);
  }
}

/** CRI: NamespaceMode TARGET joins the PID namespace of another container of the pod, as ephemeral containers do. */
function targetPid(d: Deps, plan: ContainerPlan, podId: string): number | undefined {
  if (plan.pidNamespace.is !== "target") return undefined;
  const { targetId } = plan.pidNamespace;
  const target = d.containers.require(targetId);
  if (target.podId !== podId) throw new StatusError(Code.InvalidArgument, `target_id ${targetId}: that container belongs to another pod`);
  if (target.state.is !== "running") throw new StatusError(Code.FailedPrecondition, `target_id ${targetId}: that container is not running`);
  return target.state.main.pid;
}

function userOf(spec: Spec): ContainerRecord["user"] {
  const { uid = 0, gid = 0, additionalGids = [] } = spec.process?.user ?? {};
  return { uid, gid, supplementalGroups: additionalGids };
}

function configHash(config: ContainerConfig): string {
  return createHash("sha256").update(ContainerConfig.encode(config).finish()).digest("hex");
}
