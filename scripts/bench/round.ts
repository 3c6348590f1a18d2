import {
  type ContainerConfig,
  ContainerStatusRequest,
  CreateContainerRequest,
  ExecSyncRequest,
  ListContainersRequest,
  ListPodSandboxRequest,
  NamespaceMode,
  PodSandboxConfig,
  PodSandboxStatusRequest,
  PullImageRequest,
  RemoveContainerRequest,
  RemoveImageRequest,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  SecurityProfile_ProfileType,
  StartContainerRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { call, type Side } from "./side.ts";

/** The measured calls, in the order of a round. */
export const callNames = [
  "RunPodSandbox",
  "CreateContainer",
  "StartContainer",
  "ContainerStatus",
  "PodSandboxStatus",
  "ListContainers",
  "ListPodSandbox",
  "ExecSync",
  "StopContainer",
  "RemoveContainer",
  "StopPodSandbox",
  "RemovePodSandbox",
  "PullImage",
] as const;
export type CallName = (typeof callNames)[number];

/** The time of a call as its client sees it, and the CPU time of the whole side in that time (NaN when unknown). */
export interface Sample {
  readonly ms: number;
  readonly cpuMs: number;
}

/** The label of everything that the bench creates, so that nothing else is ever removed from a peer. */
export const benchLabels = { "keelson-bench": "1" };

/** Measures one call. */
export async function measure<T>(side: Side, work: () => Promise<T>): Promise<{ value: T; sample: Sample }> {
  const cpuMs = side.cgroup?.cpuMs() ?? Number.NaN;
  const startedAtMs = performance.now();
  const value = await work();
  const ms = performance.now() - startedAtMs;
  return { value, sample: { ms, cpuMs: (side.cgroup?.cpuMs() ?? Number.NaN) - cpuMs } };
}

/**
 * One life of a pod with a container, and one pull. Calls that are not in `only` are skipped unless another needs them.
 */
export async function runRound(
  side: Side,
  images: { run: string; pull: string },
  only: ReadonlySet<string>,
): Promise<Map<CallName, Sample>> {
  const samples = new Map<CallName, Sample>();
  const timed = async <T>(name: CallName, work: () => Promise<T>): Promise<T> => {
    const { value, sample } = await measure(side, work);
    samples.set(name, sample);
    return value;
  };
  const wanted = async (name: CallName, work: () => Promise<unknown>): Promise<void> => {
    if (only.has(name)) await timed(name, work);
  };
  if (callNames.some((name) => name !== "PullImage" && only.has(name))) {
    const config = podConfig(side, "round");
    const { podSandboxId } = await timed("RunPodSandbox", () => runPod(side, config));
    const { containerId } = await timed("CreateContainer", () =>
      create(side, { podSandboxId, sandboxConfig: config, image: images.run, command: stoppable }),
    );
    await timed("StartContainer", () =>
      call(side, "startContainer", StartContainerRequest.fromPartial({ containerId })),
    );
    await wanted("ContainerStatus", () =>
      call(side, "containerStatus", ContainerStatusRequest.fromPartial({ containerId })),
    );
    await wanted("PodSandboxStatus", () =>
      call(side, "podSandboxStatus", PodSandboxStatusRequest.fromPartial({ podSandboxId })),
    );
    await wanted("ListContainers", () => listContainers(side));
    await wanted("ListPodSandbox", () => listPods(side));
    await wanted("ExecSync", async () => {
      const { exitCode } = await call(
        side,
        "execSync",
        ExecSyncRequest.fromPartial({ containerId, cmd: ["true"], timeout: 30n }),
      );
      if (exitCode !== 0) throw new Error(`${side.name}: execSync: true ended with ${exitCode}`);
    });
    await timed("StopContainer", () =>
      call(side, "stopContainer", StopContainerRequest.fromPartial({ containerId, timeout: 20n })),
    );
    await timed("RemoveContainer", () =>
      call(side, "removeContainer", RemoveContainerRequest.fromPartial({ containerId })),
    );
    await timed("StopPodSandbox", () =>
      call(side, "stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId })),
    );
    await timed("RemovePodSandbox", () =>
      call(side, "removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId })),
    );
  }
  if (only.has("PullImage")) {
    await timed("PullImage", () => pull(side, images.pull));
    await call(side, "removeImage", RemoveImageRequest.fromPartial({ image: { image: images.pull } }));
  }
  return samples;
}

/** Ends at once at SIGTERM: a shell runs a trap while it waits, but not while it runs a program. */
export const stoppable = ["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"];

/** The command line of the containers whose memory is measured. */
export const idleCommand = ["sleep", "86401"];

let named = 0;

/** A pod as kubelets request it: labels, a PID namespace for each container, no seccomp profile. */
export function podConfig(side: Side, name: string): PodSandboxConfig {
  named += 1;
  return PodSandboxConfig.fromPartial({
    metadata: {
      name: `${name}-${named}`,
      uid: `bench-${process.pid}-${named}`,
      namespace: "keelson-bench",
      attempt: 0,
    },
    hostname: name,
    logDirectory: `${side.logDirectory}/${named}`,
    labels: benchLabels,
    linux: {
      cgroupParent: side.cgroupParent,
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER }, seccomp: unconfined },
    },
  });
}

const unconfined = { profileType: SecurityProfile_ProfileType.Unconfined };

export function runPod(side: Side, config: PodSandboxConfig, timeoutMs?: number) {
  return call(
    side,
    "runPodSandbox",
    RunPodSandboxRequest.fromPartial({ config, runtimeHandler: side.handler }),
    timeoutMs,
  );
}

/** A container to create. */
export interface NewContainer {
  readonly podSandboxId: string;
  readonly sandboxConfig: PodSandboxConfig;
  readonly image: string;
  readonly command: readonly string[];
  /** `main` by default. */
  readonly name?: string;
  readonly mounts?: readonly { readonly containerPath: string; readonly hostPath: string }[];
  /** Open for one client. */
  readonly stdin?: boolean;
}

export function create(
  side: Side,
  { podSandboxId, sandboxConfig, image, command, name = "main", mounts = [], stdin = false }: NewContainer,
  timeoutMs?: number,
) {
  const config = {
    metadata: { name, attempt: 0 },
    image: { image },
    command: [...command],
    labels: benchLabels,
    mounts: [...mounts],
    logPath: `${name}.log`,
    stdin,
    stdinOnce: stdin,
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER }, seccomp: unconfined } },
  } satisfies Partial<Record<keyof ContainerConfig, unknown>>;
  return call(
    side,
    "createContainer",
    CreateContainerRequest.fromPartial({ podSandboxId, config, sandboxConfig }),
    timeoutMs,
  );
}

export function pull(side: Side, image: string) {
  return call(side, "pullImage", PullImageRequest.fromPartial({ image: { image } }), 600_000);
}

export function listContainers(side: Side) {
  return call(side, "listContainers", ListContainersRequest.fromPartial({}));
}

export function listPods(side: Side) {
  return call(side, "listPodSandbox", ListPodSandboxRequest.fromPartial({}));
}
