import { wrapError } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  CreateContainerRequest,
  type PodSandboxConfig,
  StartContainerRequest,
  StopContainerRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { optionalDurationMs } from "./duration.ts";
import { type AuthFlags, readAuth } from "./pull/auth.ts";
import { pullImage } from "./pull/pull-image.ts";
import { pullTimeoutMs, type PullTimeoutFlags } from "./pull/timeout.ts";
import type { Session } from "./session.ts";

/** The flags that `create` and `run` share. */
export interface CreateFlags extends AuthFlags, PullTimeoutFlags {
  withPull?: boolean;
  /** False for --no-pull. */
  pull?: boolean;
  cancelTimeout?: string;
}

/** Creates a container, after pulling its images if `flags.isPulling`. Returns its id. */
export async function createContainer(
  session: Session,
  podId: string,
  config: ContainerConfig,
  podConfig: PodSandboxConfig,
  flags: CreateFlags & { isPulling: boolean },
): Promise<string> {
  if (flags.isPulling) await pullImagesOf(session, config, podConfig, flags);
  const request = CreateContainerRequest.fromPartial({ podSandboxId: podId });
  request.config = config;
  request.sandboxConfig = podConfig;
  const timeoutMs = optionalDurationMs(flags.cancelTimeout, "--cancel-timeout");
  try {
    return (await session.runtime.call("createContainer", request, timeoutMs === undefined ? {} : { timeoutMs }))
      .containerId;
  } catch (error) {
    throw wrapError(`create container ${config.metadata!.name} in pod ${podId}`, error);
  }
}

/** Pulls the container's image, and those that it mounts. */
async function pullImagesOf(
  session: Session,
  config: ContainerConfig,
  podConfig: PodSandboxConfig,
  flags: CreateFlags,
): Promise<void> {
  const auth = await readAuth(session.io, flags);
  const options = {
    auth,
    podConfig,
    annotations: config.image!.annotations,
    timeoutMs: pullTimeoutMs(session.io, flags),
  };
  const mounted = config.mounts.flatMap((mount) =>
    mount.image === undefined || mount.image.image === "" ? [] : [mount.image.image],
  );
  for (const image of [config.image!.image, ...mounted]) {
    try {
      await pullImage(session, image, options);
    } catch (error) {
      throw wrapError(`pull ${image}`, error);
    }
  }
}

/** Starts a container. */
export async function startContainer(session: Session, id: string): Promise<void> {
  try {
    await session.runtime.call("startContainer", StartContainerRequest.fromPartial({ containerId: id }));
  } catch (error) {
    throw wrapError(`start container ${id}`, error);
  }
}

/** Stops a container, which is killed after `graceSeconds`. */
export async function stopContainer(session: Session, id: string, graceSeconds: number): Promise<void> {
  try {
    await session.runtime.call(
      "stopContainer",
      StopContainerRequest.fromPartial({ containerId: id, timeout: BigInt(graceSeconds) }),
    );
  } catch (error) {
    throw wrapError(`stop container ${id}`, error);
  }
}
