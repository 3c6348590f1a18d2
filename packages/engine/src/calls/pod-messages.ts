import { PodSandboxState, type PodSandbox, type PodSandboxStatus } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { PodRecord } from "../records/pod-record.ts";

const listed = new WeakMap<PodRecord, PodSandbox>();

/** A pod as lists show it: the same object until the pod changes. Callers must not modify it. */
export function podSandboxOf(pod: PodRecord): PodSandbox {
  let sandbox = listed.get(pod);
  if (sandbox === undefined) listed.set(pod, (sandbox = newPodSandboxOf(pod)));
  return sandbox;
}

function newPodSandboxOf(pod: PodRecord): PodSandbox {
  return {
    id: pod.id,
    metadata: pod.plan.metadata,
    state: stateOf(pod),
    createdAt: pod.createdAtNs,
    labels: pod.plan.labels,
    annotations: pod.plan.annotations,
    runtimeHandler: pod.runtimeHandler,
  };
}

/** A pod's full status. */
export function podSandboxStatusOf(pod: PodRecord): PodSandboxStatus {
  const [ip = "", ...others] = pod.state.is === "ready" ? pod.state.ips : [];
  return {
    ...podSandboxOf(pod),
    // CRI: empty for a pod in the host's network.
    network: { ip, additionalIps: others.map((other) => ({ ip: other })) },
    linux: { namespaces: { options: pod.config.linux?.securityContext?.namespaceOptions } },
  };
}

function stateOf(pod: PodRecord): PodSandboxState {
  return pod.state.is === "ready" ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}
