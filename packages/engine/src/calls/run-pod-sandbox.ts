import type { Stage } from "@keelson/base/joined-calls.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { PodSandboxConfig, RunPodSandboxRequest, RunPodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { type PodPlan, planPodSandbox } from "@keelson/plan/pod-plan.ts";
import { withFreeLevel } from "@keelson/plan/selinux.ts";
import type { Deps } from "../deps.ts";
import { startSandbox } from "../pod/sandbox-container.ts";
import { watchPod } from "../pod/stop.ts";
import { networkPodOf, teardownPod } from "../pod/teardown.ts";
import { creationTimeNs } from "../records/creation-time.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { podTransition } from "../records/pod-state.ts";
import { configHash } from "./config-hash.ts";
import { inStages, podOperation } from "./in-stages.ts";
import { removeLeftover } from "./remove-leftover.ts";

/**
 * CRI: RunPodSandbox. A retry with the same config joins the call that is under way, or gets the
 * pod that it made.
 */
export async function runPodSandbox(
  d: Deps,
  req: RunPodSandboxRequest,
  signal: AbortSignal,
): Promise<RunPodSandboxResponse> {
  if (req.config === undefined) throw new StatusError(Code.InvalidArgument, "config is missing");
  const config = req.config;
  await d.runtimes.handler(req.runtimeHandler).refreshFacts();
  // Again: what it answered may have been that it cannot run.
  const handler = d.runtimes.handler(req.runtimeHandler);
  const plan = planPodSandbox({
    config,
    runtimeHandler: req.runtimeHandler,
    host: d.host,
    handler: handler.facts,
    id: d.newId(),
    policy: d.podPolicy,
  });
  const hash = configHash("PodSandboxConfig", config);
  const earlier = d.pods.byName(plan.nameKey);
  if (
    earlier?.state.is === "ready" &&
    earlier.handler === handler.name &&
    configHash("PodSandboxConfig", earlier.config) === hash
  ) {
    return { podSandboxId: earlier.id };
  }
  const key = `pod ${plan.nameKey} ${handler.name} ${hash}`;
  const podSandboxId = await d.creations.join(key, signal, (running, tell) =>
    inStages(podOperation(d, "RunPodSandbox", plan, signal), `run pod sandbox ${plan.nameKey}`, tell, (stage, detail) =>
      bringUp(d, plan, config, handler.name, running, stage, detail),
    ),
  );
  return { podSandboxId };
}

/** @param tell of what goes on within a stage, which errors name by themselves. */
async function bringUp(
  d: Deps,
  planned: PodPlan,
  config: PodSandboxConfig,
  handler: string,
  signal: AbortSignal,
  stage: Stage,
  tell: Stage,
): Promise<string> {
  const leftovers = {
    records: d.pods,
    podIdOf: (pod: PodRecord) => pod.id,
    remove: (pod: PodRecord) => forgetPod(d, pod.id),
  };
  await removeLeftover(d, leftovers, planned.nameKey, signal);
  using _ = await d.podLock.acquire(planned.id, signal);
  const plan = withOwnLabel(d, planned);
  tellMissingOverhead(d, plan, config, handler);
  const record = newRecord(d, plan, config, handler);
  d.pods.insert(record);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => forgetPod(d, plan.id));
  stage("create namespaces and files");
  await d.podHost.create(plan);
  if (plan.pid === "pod" && plan.sandbox === "none") await startInit(d, plan, stage);
  stage("attach the network");
  const ips = plan.network === "own" ? (await d.network.attach(networkPodOf(d, record), signal, tell)).ips : [];
  if (plan.sandbox === "container") {
    stage(`start its sandbox with ${handler}`);
    await startSandbox(d, record, signal);
  }
  stage("write the pod's files");
  await d.podHost.writeHosts(plan, ips);
  const ready: PodRecord = { ...d.pods.get(plan.id)!, state: podTransition(record.state, { type: "ready", ips }) };
  // Before it is listed: one that cannot be watched must not be found by a retry.
  watchPod(d, ready);
  d.pods.update(plan.id, () => ready);
  undo.move();
  return plan.id;
}

/** Chosen and inserted without a wait between, so that no two pods have the same. */
function withOwnLabel(d: Deps, plan: PodPlan): PodPlan {
  if (plan.seLinux === undefined) return plan;
  const used = new Set(d.pods.all().flatMap((pod) => pod.plan.seLinux?.level ?? []));
  return { ...plan, seLinux: withFreeLevel(plan.seLinux, plan.id, used, d.host) };
}

/** Without it a pod pays for its sandbox out of its containers' limits. A kubelet sends an empty one where the RuntimeClass has none. */
function tellMissingOverhead(d: Deps, plan: PodPlan, { linux }: PodSandboxConfig, name: string): void {
  const { overhead } = d.runtimes.handlerOf(name).settings;
  const isGiven =
    linux?.overhead !== undefined &&
    (linux.overhead.memoryLimitInBytes > 0n || linux.overhead.cpuShares > 0n || linux.overhead.cpuQuota > 0n);
  if (overhead === undefined || isGiven) return;
  const podFixed = Object.entries(overhead)
    .map(([resource, quantity]) => `${resource}: ${quantity}`)
    .join(", ");
  d.log.warn(
    { podSandboxId: plan.id, handler: name },
    `pod ${plan.nameKey} comes without an overhead; its RuntimeClass should have overhead.podFixed { ${podFixed} }`,
  );
}

function newRecord(d: Deps, plan: PodPlan, config: PodSandboxConfig, handler: string): PodRecord {
  return {
    id: plan.id,
    name: plan.nameKey,
    config,
    plan,
    runtimeHandler: plan.runtimeHandler,
    handler,
    createdAtNs: creationTimeNs(d, plan.metadata.uid, d.nowNs()),
    bootId: d.bootId,
    init: undefined,
    overhead: config.linux?.overhead,
    resources: config.linux?.resources,
    state: { is: "creating" },
  };
}

/** Noted as soon as it runs, so that it is found after a crash; one that is not is found by its pod's cgroup. */
async function startInit(d: Deps, plan: PodPlan, stage: Stage): Promise<void> {
  stage("start the pod's init");
  const init = await d.podHost.startInit(plan);
  d.pods.update(plan.id, (pod) => ({ ...pod, init }));
}

/** Undoes a pod that did not come up. Has a deadline of its own: the caller's may be why we are here. */
async function forgetPod(d: Deps, id: string): Promise<void> {
  const pod = d.pods.get(id);
  if (pod === undefined) return;
  await teardownPod(d, pod, AbortSignal.timeout(d.cleanupTimeoutMs));
  d.pods.delete(id);
}
