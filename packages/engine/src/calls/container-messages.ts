import { enums } from "@keelson/cri/gen/descriptor.ts";
import {
  ContainerState,
  Signal,
  type Container,
  type ContainerStatus,
  type Mount,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ContainerRecord } from "../records/container-record.ts";

const listed = new WeakMap<ContainerRecord, Container>();

/** A container as lists have it: the same object until the container changes, never to be changed itself. */
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

/** A container in full. */
export function containerStatusOf(c: ContainerRecord): ContainerStatus {
  const { state } = c;
  const ended = state.is === "exited";
  return {
    id: c.id,
    metadata: c.config.metadata,
    state: stateOf(c),
    createdAt: c.createdAtNs,
    startedAt: state.is === "running" || ended ? state.startedAtNs : 0n,
    finishedAt: ended ? state.finishedAtNs : 0n,
    exitCode: ended ? state.exitCode : 0,
    image: { ...c.config.image!, image: c.config.image!.userSpecifiedImage || c.config.image!.image },
    imageRef: c.imageId,
    reason: ended ? state.reason : state.is === "unknown" ? "Unknown" : "",
    message: ended || state.is === "unknown" ? state.message : "",
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

/** KEP-5365: which image a mounted one's name meant when the container was made. */
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
      return ContainerState.CONTAINER_UNKNOWN;
  }
}

/** The CRI's number of a signal, which is not the kernel's: SIGRTMIN+1 is SIGRTMINPLUS1. */
function signalOf(name: string): Signal {
  const key = name.replace("RTMIN+", "RTMINPLUS").replace("RTMAX-", "RTMAXMINUS");
  return (enums["Signal"]![key] ?? Signal.RUNTIME_DEFAULT) as Signal;
}
