import { Code, StatusError } from "@keelson/base/status.ts";
import type {
  LinuxContainerResources,
  PodSandboxStatusRequest,
  PodSandboxStatusResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { toConfigJson } from "@keelson/cri/json.ts";
import type { Deps } from "../deps.ts";
import { podDir } from "../records/paths.ts";
import { podFiles } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { unreadableMessage } from "../records/unreadable-message.ts";
import { podSandboxStatusOf } from "./pod-messages.ts";
import { requestId } from "./request-id.ts";

/** CRI: PodSandboxStatus. NotFound when there is no such pod. */
export async function podSandboxStatus(d: Deps, req: PodSandboxStatusRequest): Promise<PodSandboxStatusResponse> {
  const pod = shownPod(d, requestId("pod_sandbox_id", req.podSandboxId));
  const info: Record<string, string> = req.verbose
    ? { info: JSON.stringify(verboseInfo(d, pod)), trace: traceJson(d, pod) }
    : {};
  return { status: podSandboxStatusOf(pod), info, containersStatuses: [], timestamp: d.nowNs() };
}

/** The pod with this id or prefix. Throws NotFound, also for one that is still being created. */
export function shownPod(d: Deps, id: string): PodRecord {
  const pod = d.pods.require(id);
  if (pod.state.is === "creating") throw new StatusError(Code.NotFound, `pod sandbox ${id}: it is still being created`);
  return pod;
}

/**
 * Uses the names that `crictl inspectp` shows for other runtimes where those have them: `pid` (0 for a pod without an
 * init), `runtimeHandler` as requested, `config`. A pod has no runtime spec: its namespaces are ours, not a
 * container's.
 */
function verboseInfo(d: Deps, pod: PodRecord): object {
  const { netns } = podFiles(podDir(d.paths, pod.id));
  return {
    runtimeHandler: pod.runtimeHandler,
    handler: pod.handler,
    pid: pod.state.is === "ready" ? (pod.init?.pid ?? 0) : 0,
    netns: pod.plan.network === "own" ? netns : "",
    cgroup: pod.plan.cgroup.path,
    stateDir: podDir(d.paths, pod.id),
    config: toConfigJson("PodSandboxConfig", pod.config),
    plan: pod.plan,
    overhead: resourcesJson(pod.overhead),
    resources: resourcesJson(pod.resources),
    unreadable: unreadableMessage(pod),
  };
}

function resourcesJson(resources: LinuxContainerResources | undefined): unknown {
  return resources === undefined ? undefined : toConfigJson("LinuxContainerResources", resources);
}

/** What this daemon did for the pod, and how long each stage took: `keelctl trace` draws it. */
function traceJson(d: Deps, pod: PodRecord): string {
  const operations = d.operations.ofPod(pod.plan.metadata.uid);
  return JSON.stringify(operations, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}
