import { randomUUID } from "node:crypto";
import { Code, codeOf, messageOf, wrapError } from "@keelson/base/status.ts";
import {
  ContainerConfig,
  CreateContainerRequest,
  ExecSyncRequest,
  ListPodSandboxRequest,
  NamespaceMode,
  PodSandboxConfig,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  StartContainerRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { note } from "../io.ts";
import type { Session } from "../session.ts";
import { likelyCause } from "./likely-cause.ts";

/** The result of a check. Times in ms. */
export type CheckResult =
  | {
      readonly ok: true;
      readonly podMs: number;
      readonly containerMs: number;
      readonly execMs: number;
      readonly kernel: string;
    }
  | {
      readonly ok: false;
      /** The stage that failed, and the runtime's words. */
      readonly error: string;
      readonly likelyCause?: string;
    };

export function failed(error: string): CheckResult {
  const cause = likelyCause(error);
  return { ok: false, error, ...(cause === undefined ? {} : { likelyCause: cause }) };
}

/** The label of the pods of checks; its value is different for each check. */
const label = "keelctl.check";
/** A check's pod that is this old was left by a check that was killed. */
const abandonedAfterMs = 15 * 60_000;
/** For each step, unless --timeout is given. */
const stepTimeoutMs = 60_000;

/**
 * Runs a pod with a container by this handler, asks in it which kernel it has, and removes it all again, whatever
 * happens. What is wrong with the handler is in the result; throws only when the user interrupts.
 */
export async function checkHandler(session: Session, handler: string, image: string): Promise<CheckResult> {
  const id = randomUUID();
  const onInterrupt = () => void note(session.io, "removing what the check has created; interrupt again to leave it");
  session.io.signal.addEventListener("abort", onInterrupt);
  try {
    return await runThrough(session, handler, image, id);
  } catch (error) {
    session.io.signal.throwIfAborted();
    return failed(messageOf(error));
  } finally {
    await removePods(session, { [label]: id });
    session.io.signal.removeEventListener("abort", onInterrupt);
  }
}

/** Removes the pods of checks that were killed. */
export async function removeAbandoned(session: Session): Promise<void> {
  await removePods(
    session,
    {},
    (createdAtNs) => session.io.now() - Number(createdAtNs / 1_000_000n) > abandonedAfterMs,
  );
}

async function runThrough(session: Session, handler: string, image: string, id: string): Promise<CheckResult> {
  const podConfig = PodSandboxConfig.fromPartial({
    metadata: { name: `keelctl-check-${handler || "default"}`, namespace: "keelctl", uid: id },
    labels: { [label]: id },
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
  });
  const config = ContainerConfig.fromPartial({
    metadata: { name: "check" },
    image: { image, userSpecifiedImage: image },
    command: ["sleep", "3600"],
    linux: {},
  });
  const startedAt = performance.now();
  const podId = await step(session, "run the pod", () => {
    const request = RunPodSandboxRequest.fromPartial({ runtimeHandler: handler });
    request.config = podConfig;
    return session.runtime.call("runPodSandbox", request, options(session)).then((response) => response.podSandboxId);
  });
  const podAt = performance.now();
  const containerId = await step(session, "create the container", () => {
    const request = CreateContainerRequest.fromPartial({ podSandboxId: podId });
    request.config = config;
    request.sandboxConfig = podConfig;
    return session.runtime.call("createContainer", request, options(session)).then((response) => response.containerId);
  });
  await step(session, "start the container", () =>
    session.runtime.call("startContainer", StartContainerRequest.fromPartial({ containerId }), options(session)),
  );
  const runningAt = performance.now();
  const { stdout, stderr, exitCode } = await step(session, "run a command in it", () =>
    session.runtime.call(
      "execSync",
      ExecSyncRequest.fromPartial({ containerId, cmd: ["uname", "-sr"], timeout: 30n }),
      options(session),
    ),
  );
  const execAt = performance.now();
  if (exitCode !== 0)
    return failed(`run a command in it: uname exited with ${exitCode}: ${Buffer.from(stderr).toString().trim()}`);
  await step(session, "stop the container", () =>
    session.runtime.call(
      "stopContainer",
      StopContainerRequest.fromPartial({ containerId, timeout: 0n }),
      options(session),
    ),
  );
  const kernel = Buffer.from(stdout).toString().trim();
  return {
    ok: true,
    podMs: Math.round(podAt - startedAt),
    containerMs: Math.round(runningAt - podAt),
    execMs: Math.round(execAt - runningAt),
    kernel,
  };
}

/** Calls are waited for when the user interrupts, so that what they create is known and can be removed. */
function options({ settings }: Session) {
  return {
    afterInterrupt: true,
    timeoutFlag: "--timeout",
    ...(settings.timeoutMs === undefined ? { timeoutMs: stepTimeoutMs } : {}),
  };
}

async function step<T>({ io }: Session, doing: string, body: () => Promise<T>): Promise<T> {
  io.signal.throwIfAborted();
  try {
    return await body();
  } catch (error) {
    throw wrapError(doing, error);
  }
}

async function removePods(
  session: Session,
  labels: Readonly<Record<string, string>>,
  isMeant: (createdAtNs: bigint) => boolean = () => true,
): Promise<void> {
  const { items } = await session.runtime.call(
    "listPodSandbox",
    ListPodSandboxRequest.fromPartial({ filter: { labelSelector: { ...labels } } }),
    { afterInterrupt: true },
  );
  for (const pod of items.filter((one) => Object.hasOwn(one.labels, label) && isMeant(one.createdAt))) {
    try {
      await session.runtime.call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: pod.id }), {
        afterInterrupt: true,
      });
      await session.runtime.call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: pod.id }), {
        afterInterrupt: true,
      });
    } catch (error) {
      if (codeOf(error) !== Code.NotFound)
        throw wrapError(`remove the pod of the check (\`keelctl rmp -f ${pod.id}\` tries again)`, error);
    }
  }
}
