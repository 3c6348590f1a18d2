import type { Stage } from "@keelson/base/joined-calls.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type {
  ContainerConfig,
  CreateContainerRequest,
  CreateContainerResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { traceContextOf } from "@keelson/cri/trace-context.ts";
import type { ImageRecord } from "@keelson/images/record.ts";
import { repoDigestOf } from "@keelson/images/repo-digest.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { withBaseSpec } from "@keelson/plan/base-spec.ts";
import { withCdiEdits } from "@keelson/plan/cdi.ts";
import { type ContainerPlan, type ContainerPlanInput, planContainer } from "@keelson/plan/container-plan.ts";
import { containerSpec } from "@keelson/plan/container-spec.ts";
import { deviceOwner } from "@keelson/plan/devices.ts";
import { withResourceClasses } from "@keelson/plan/resource-classes.ts";
import { findCdiEdits } from "../cdi/find-edits.ts";
import { bindSources, findMountsBelow, releaseSources, withBoundDevices } from "../container/bound-sources.ts";
import { findHostFiles } from "../container/host-files.ts";
import { checkMountKinds, knownMounts } from "../container/mount-kinds.ts";
import { findHostPaths, findMountedImages, prepareMountSources } from "../container/mount-sources.ts";
import { warnRaisedScore } from "../container/raised-score.ts";
import { resolveClasses } from "../container/resource-classes.ts";
import { runtimeContainerOf, runtimeOf } from "../container/runtime-container.ts";
import { collectSpecInput, type SpecSources } from "../container/spec-input.ts";
import { removeContainerRecord } from "../container/teardown.ts";
import { tooLargeProblem } from "../container/too-large-command.ts";
import type { Deps } from "../deps.ts";
import { podIdMap } from "../machine/id-map.ts";
import { sandboxPid } from "../pod/sandbox-container.ts";
import type { ContainerRecord, MountedImage } from "../records/container-record.ts";
import { type ContainerEvent, containerTransition } from "../records/container-state.ts";
import { creationTimeNs } from "../records/creation-time.ts";
import { podDir } from "../records/paths.ts";
import { etcFiles, podFiles } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { configHash } from "./config-hash.ts";
import { inStages } from "./in-stages.ts";
import { shownPod } from "./pod-sandbox-status.ts";
import { refuseUnreadable } from "./refuse-unreadable.ts";
import { removeLeftover } from "./remove-leftover.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: CreateContainer. A retry with the same config joins the call that is under way, or returns the container that
 * the earlier call created if it has not been started.
 */
export async function createContainer(
  d: Deps,
  req: CreateContainerRequest,
  signal: AbortSignal,
): Promise<CreateContainerResponse> {
  const { config } = req;
  if (config === undefined) throw new StatusError(Code.InvalidArgument, "config is missing");
  const pod = shownPod(d, requestId("pod_sandbox_id", req.podSandboxId));
  refuseUnreadable("pod sandbox", pod);
  const image = requireImage(d, config);
  const handler = d.runtimes.handlerOf(pod.handler);
  const refusal = handler.refusal();
  if (refusal !== undefined)
    throw new StatusError(Code.FailedPrecondition, `runtime handler ${handler.name}: ${refusal}`);
  const plan = planContainer({
    config,
    pod: pod.plan,
    image: withDefaults(d, image),
    host: d.host,
    handler: handler.facts,
    id: d.newId(),
    defaults: d.containerPolicy.defaults,
    annotationGlobs: handler.settings.annotations,
  });
  const mountedImages = findMountedImages(d, plan.mounts);
  const hash = configHash("ContainerConfig", config);
  const earlier = d.containers.byName(plan.nameKey);
  if (
    earlier?.state.is === "created" &&
    earlier.podId === pod.id &&
    configHash("ContainerConfig", earlier.config) === hash
  ) {
    return { containerId: earlier.id };
  }
  const operation = () =>
    d.operations.begin(
      { call: "CreateContainer", name: plan.metadata.name, podUid: pod.plan.metadata.uid, containerId: plan.id },
      traceContextOf(signal),
    );
  const key = `container ${plan.nameKey} ${pod.id} ${hash}`;
  const containerId = await d.creations.join(key, signal, (running, notify) =>
    inStages(operation(), `create container ${plan.metadata.name}`, notify, ({ stage }) =>
      bringUp(d, { plan, config, image, mountedImages, podId: pod.id }, running, stage),
    ),
  );
  return { containerId };
}

interface NewContainer {
  readonly plan: ContainerPlan;
  readonly config: ContainerConfig;
  readonly image: ImageRecord;
  readonly mountedImages: readonly MountedImage[];
  readonly podId: string;
}

async function bringUp(d: Deps, c: NewContainer, signal: AbortSignal, stage: Stage): Promise<string> {
  const known = requireReady(d, c.podId);
  const { userNamespace } = known.plan;
  const { privilegedDevices } = d.runtimes.handlerOf(known.handler).settings;
  stage("find its host paths");
  const hostPaths = await findHostPaths(d, c.plan.mounts, signal);
  const hostFiles = await findHostFiles(d, c.plan, c.plan.privileged && privilegedDevices === "all", signal);
  const cdi = await findCdiEdits(d, c.plan.cdiDevices, signal);
  const mountsBelow = await findMountsBelow(d, { plan: c.plan, hostPaths }, userNamespace !== undefined, signal);
  stage("wait for other calls on the pod");
  const remove = (leftover: ContainerRecord) =>
    removeContainerRecord(d, leftover, AbortSignal.timeout(d.cleanupTimeoutMs));
  const leftovers = { records: d.containers, podIdOf: (container: ContainerRecord) => container.podId, remove };
  await removeLeftover(d, leftovers, c.plan.nameKey, signal);
  using _ = await d.podLock.acquire(c.podId, signal);
  const pod = requireReady(d, c.podId);
  const record = newRecord(d, c, pod);
  d.containers.insert(record);
  warnRaisedScore(d.log, record.id, c.plan.oomScoreAdj);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => remove(record));
  stage("mount the root file system");
  const files = podFiles(podDir(d.paths, pod.id));
  const idMap = podIdMap(pod.plan.userNamespace, files.userns);
  const rootfs = await d.containerHost.mountRootfs(record.id, d.images.lowerDirectories(record), {
    label: c.plan.seLinux?.mount,
    idMap,
  });
  stage("prepare its mounts");
  const unbound = await prepareMountSources(d, { ...c, hostPaths, rootfs, idMap }, signal);
  if (c.plan.seLinux !== undefined) {
    stage("label its files");
    await d.containerHost.relabel(filesToLabel(d, c.plan, unbound), c.plan.seLinux.mount, signal);
  }
  const ownFiles = Object.values(etcFiles(podDir(d.paths, pod.id)));
  const bound = await bindSources(
    d,
    {
      plan: c.plan,
      idMap,
      mountSources: unbound,
      podFiles: ownFiles,
      hostPaths,
      mountsBelow,
    },
    signal,
  );
  stage("make its spec");
  const classes = await resolveClasses(c.plan.classes, d.containerPolicy.classFiles, d.host);
  const asked = withCdiEdits(
    withResourceClasses(makeSpec(d, c, pod, { rootfs, hostFiles, ...bound }), classes),
    cdi,
    d.host,
  );
  const spec = withBoundDevices(d, record.id, asked, idMap);
  const facts = { plan: c.plan, hostPaths, mountSources: unbound, podFiles: ownFiles };
  await checkMountKinds(
    d.containerHost,
    rootfs,
    await knownMounts(d.containerHost, facts, spec),
    (spec.mounts ?? []).map((mount) => mount.destination),
  );
  d.containerHost.writeProcess(record.id, spec.process!);
  stage(`create the container with ${pod.handler}`);
  const event = await createWithRuntime(d, record, spec, signal);
  await releaseSources(d, { plan: c.plan, idMap });
  const created: ContainerRecord = {
    ...record,
    user: userOf(spec),
    state: containerTransition(record.state, event, record.createdAtNs),
  };
  // Before it is listed: a retry must not find a container that cannot be watched.
  d.exits.watch(created);
  d.containers.update(record.id, () => created);
  undo.move();
  return record.id;
}

/** The pod's files, the container's own volumes, and the mounts whose config asks for it. */
function filesToLabel(d: Deps, plan: ContainerPlan, mountSources: readonly string[]): string[] {
  const dir = podDir(d.paths, plan.podId);
  const ofMounts = mountSources.filter(
    (_, i) => plan.mounts[i]!.relabel === true || plan.mounts[i]!.source.is === "volume",
  );
  return [...Object.values(etcFiles(dir)), podFiles(dir).shm, ...ofMounts];
}

/**
 * Some runtimes check the command already when they create the container, others do not. A container whose command
 * cannot be executed is created either way: it has exited before it started, and its start and its status say why.
 */
async function createWithRuntime(
  d: Deps,
  record: ContainerRecord,
  spec: Spec,
  signal: AbortSignal,
): Promise<ContainerEvent> {
  const tooLarge = tooLargeProblem(d, record.handler, spec.process!);
  if (tooLarge !== undefined) {
    d.log.info({ containerId: record.id }, tooLarge.message);
    return { type: "exited", ...tooLarge, reason: "StartError", atNs: d.nowNs() };
  }
  const withTimeout = AbortSignal.any([signal, AbortSignal.timeout(d.createTimeoutMs)]);
  try {
    return {
      type: "created",
      ...(await d.runtimes.handlerOf(record.handler).runtime.create(runtimeContainerOf(d, record), spec, withTimeout)),
    };
  } catch (error) {
    const problem = withTimeout.aborted ? undefined : await d.containerHost.commandProblem(record.id);
    if (problem === undefined) throw error;
    d.log.info({ containerId: record.id, err: error }, problem.message);
    return { type: "exited", ...problem, reason: "StartError", atNs: d.nowNs() };
  }
}

function requireImage(d: Deps, config: ContainerConfig): ImageRecord {
  const name = config.image?.image ?? "";
  if (name === "") throw new StatusError(Code.InvalidArgument, "image.image is missing: it names the image to run");
  const image = d.images.find(name);
  if (image === undefined)
    throw new StatusError(Code.NotFound, `image ${name} is not on this node; pull it first (\`keelctl pull ${name}\`)`);
  return image;
}

/** What planning takes from the image, without what the configuration says to ignore. */
function withDefaults({ mountPolicy }: Deps, { id, config }: ImageRecord): ContainerPlanInput["image"] {
  return { id, config: mountPolicy.imageVolumes === "ignore" ? { ...config, volumes: [] } : config };
}

function requireReady(d: Deps, podId: string): PodRecord {
  const pod = d.pods.require(podId);
  if (pod.state.is !== "ready")
    throw new StatusError(Code.FailedPrecondition, `pod sandbox ${podId} is not ready: it was stopped; run a new one`);
  return pod;
}

function newRecord(
  d: Deps,
  { plan, config, image, mountedImages, podId }: NewContainer,
  pod: PodRecord,
): ContainerRecord {
  return {
    id: plan.id,
    name: plan.nameKey,
    podId,
    config,
    imageId: image.id,
    repoDigest: repoDigestOf(image, [config.image?.userSpecifiedImage ?? "", config.image?.image ?? ""]),
    layers: image.layers,
    mountedImages,
    handler: pod.handler,
    logPath: plan.logPath ?? "",
    cgroupPath: plan.cgroup.path,
    stopSignal: { name: plan.stopSignal.name, number: plan.stopSignal.number },
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: config.linux?.resources,
    createdAtNs: creationTimeNs(d, pod.plan.metadata.uid, d.nowNs()),
    bootId: d.bootId,
    state: { is: "creating" },
  };
}

function makeSpec(
  d: Deps,
  c: NewContainer,
  pod: PodRecord,
  found: Pick<SpecSources, "rootfs" | "hostFiles" | "mountSources" | "sourceTraits">,
): Spec {
  const { settings } = d.runtimes.handlerOf(pod.handler);
  const spec = containerSpec(
    collectSpecInput({
      plan: c.plan,
      pod: pod.plan,
      podDir: podDir(d.paths, pod.id),
      host: d.host,
      ...found,
      pidNamespace: joinedPidNamespace(d, c.plan, pod),
      deviceOwner: d.containerPolicy.deviceOwnershipFromSecurityContext
        ? deviceOwner(c.config.linux?.securityContext)
        : {},
      privilegedDevices: settings.privilegedDevices,
    }),
  );
  return settings.baseSpec === undefined ? spec : withBaseSpec(spec, settings.baseSpec);
}

/**
 * The path of the PID namespace to join: the sandbox's or, with CRI: NamespaceMode TARGET, that of another container of
 * the pod, as for ephemeral containers.
 */
function joinedPidNamespace(d: Deps, plan: ContainerPlan, pod: PodRecord): string | undefined {
  if (plan.pidNamespace.is === "pod" && pod.plan.sandbox === "container") return pidNamespaceOf(sandboxPid(pod));
  if (plan.pidNamespace.is !== "target") return undefined;
  const { targetId } = plan.pidNamespace;
  const target = d.containers.require(targetId);
  refuseUnreadable("container", target);
  if (target.podId !== pod.id)
    throw new StatusError(Code.InvalidArgument, `target_id ${targetId}: that container belongs to another pod`);
  if (target.state.is !== "running")
    throw new StatusError(Code.FailedPrecondition, `target_id ${targetId}: that container is not running`);
  const { runtime, container } = runtimeOf(d, target);
  if (runtime.pidNamespaceOf !== undefined) return runtime.pidNamespaceOf(container);
  if (target.state.main === undefined)
    throw new StatusError(
      Code.FailedPrecondition,
      `target_id ${targetId}: its processes are not on this machine but inside the sandbox of ${target.handler}, so none can join them`,
    );
  return pidNamespaceOf(target.state.main.pid);
}

function pidNamespaceOf(pid: number | undefined): string | undefined {
  return pid === undefined ? undefined : `/proc/${pid}/ns/pid`;
}

function userOf(spec: Spec): ContainerRecord["user"] {
  const { uid = 0, gid = 0, additionalGids = [] } = spec.process?.user ?? {};
  return { uid, gid, supplementalGroups: additionalGids };
}
