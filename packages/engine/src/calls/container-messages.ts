import { enums } from "@keelson/cri/gen/descriptor.ts";
import {
  ContainerState,
  Signal,
  type Container,
  type ContainerStatus,
  type Mount,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { unreadableMessage, unreadableReason } from "../records/unreadable-message.ts";

const listed = new WeakMap<ContainerRecord, Container>();

/** A container as lists show it: the same object until the container changes. Callers must not modify it. */
export function containerOf(c: ContainerRecord): Container {
  let container = listed.get(c);
  if (container === undefined) listed.set(c, (container = newContainerOf(c)));
  return container;
}

function newContainerOf(c: ContainerRecord): Container {
  return {
    id: c.id,
    podSandboxId: c.podId,
    metadata: c.config.metadata,
    image: c.config.image,
    imageRef: c.imageId,
    state: stateOf(c),
    createdAt: c.createdAtNs,
    labels: c.config.labels,
    annotations: c.config.annotations,
    imageId: c.imageId,
  };
}

/** A container's full status. */
export function containerStatusOf(c: ContainerRecord): ContainerStatus {
  return {
    id: c.id,
    metadata: c.config.metadata,
    state: stateOf(c),
    createdAt: c.createdAtNs,
    ...courseOf(c),
    image: { ...c.config.image!, image: c.config.image!.userSpecifiedImage || c.config.image!.image },
    // What the kubelet shows as imageID, where scanners and policy engines look for a manifest.
    imageRef: c.repoDigest ?? c.imageId,
    labels: c.config.labels,
    annotations: c.config.annotations,
    mounts: c.config.mounts.map((mount) => withImageRef(c, mount)),
    logPath: c.logPath,
    resources: { linux: c.resources, windows: undefined },
    imageId: c.imageId,
    user: {
      linux: {
        uid: BigInt(c.user.uid),
        gid: BigInt(c.user.gid),
        supplementalGroups: c.user.supplementalGroups.map(BigInt),
      },
    },
    stopSignal: signalOf(c.stopSignal.name),
  };
}

type Course = Pick<ContainerStatus, "startedAt" | "finishedAt" | "exitCode" | "reason" | "message">;

/** When a container started, and when, how and why it ended, as far as that is so. */
function courseOf(c: ContainerRecord): Course {
  const { state } = c;
  const none = { startedAt: 0n, finishedAt: 0n, exitCode: 0, reason: "", message: "" };
  switch (state.is) {
    case "creating":
    case "created":
      return none;
    case "running":
      return { ...none, startedAt: state.startedAtNs };
    case "exited": {
      const { startedAtNs: startedAt, finishedAtNs: finishedAt, exitCode, reason, message } = state;
      return { startedAt, finishedAt, exitCode, reason, message };
    }
    case "unknown":
      return { ...none, reason: "Unknown", message: state.message };
    case "unreadable": {
      const { finishedAtNs: finishedAt = 0n, exitCode = 0 } = state.ended ?? {};
      return { ...none, finishedAt, exitCode, reason: unreadableReason, message: unreadableMessage(c)! };
    }
  }
}

/** KEP-5365: the image that the name of a mounted image meant when the container was created. */
function withImageRef({ mountedImages }: ContainerRecord, mount: Mount): Mount {
  const found = mountedImages.find((image) => image.name === mount.image?.image);
  return found === undefined ? mount : { ...mount, image: { ...mount.image!, imageRef: found.imageId } };
}

function stateOf({ state }: ContainerRecord): ContainerState {
  switch (state.is) {
    case "creating":
    case "created":
      return ContainerState.CONTAINER_CREATED;
    case "running":
      return ContainerState.CONTAINER_RUNNING;
    case "exited":
      return ContainerState.CONTAINER_EXITED;
    case "unknown":
    case "unreadable":
      return ContainerState.CONTAINER_UNKNOWN;
  }
}

/** The CRI's number for a signal, which is not the kernel's: SIGRTMIN+1 is SIGRTMINPLUS1. */
function signalOf(name: string): Signal {
  const key = name.replace("RTMIN+", "RTMINPLUS").replace("RTMAX-", "RTMAXMINUS");
  return (enums["Signal"]![key] ?? Signal.RUNTIME_DEFAULT) as Signal;
}
