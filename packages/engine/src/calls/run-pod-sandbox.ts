import { Code, StatusError } from "@keelson/base/status.ts";
import type { PodSandboxConfig, RunPodSandboxRequest, RunPodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { type PodPlan, planPodSandbox } from "@keelson/plan/pod-plan.ts";
import { withFreeLevel } from "@keelson/plan/selinux.ts";
import type { Deps } from "../deps.ts";
import { startSandbox } from "../pod/sandbox-container.ts";
import { watchPod } from "../pod/stop.ts";
import { networkPodOf, teardownPod } from "../pod/teardown.ts";
import type { Progress } from "../progress.ts";
import { creationTimeNs } from "../records/creation-time.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { podTransition } from "../records/pod-state.ts";
import { configHash } from "./config-hash.ts";
import { inStages, podOperation } from "./in-stages.ts";
import { removeLeftover } from "./remove-leftover.ts";

/**
 * CRI: RunPodSandbox. A retry with the same config joins the call that is under way, or returns the pod that the
 * earlier call created.
 */
export async function runPodSandbox(
  d: Deps,
  req: RunPodSandboxRequest,
  signal: AbortSignal,
): Promise<RunPodSandboxResponse> {
  if (req.config === undefined) throw new StatusError(Code.InvalidArgument, "config is missing");
  const config = req.config;
  await d.runtimes.handler(req.runtimeHandler).refreshFacts();
  // Looked up again: it may just have found out that it cannot run.
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
  const podSandboxId = await d.creations.join(key, signal, (running, notify) =>
    inStages(podOperation(d, "RunPodSandbox", plan, signal), `run pod sandbox ${plan.nameKey}`, notify, (progress) =>
      bringUp(d, { plan, config, handler: handler.name }, running, progress),
    ),
  );
  return { podSandboxId };
}

interface NewPod {
  readonly plan: PodPlan;
  readonly config: PodSandboxConfig;
  /** The name of its runtime handler; the default's when the request names none. */
  readonly handler: string;
}

async function bringUp(d: Deps, planned: NewPod, signal: AbortSignal, progress: Progress): Promise<string> {
  const { stage, detail } = progress;
  const leftovers = {
    records: d.pods,
    podIdOf: (pod: PodRecord) => pod.id,
    remove: (pod: PodRecord) => forgetPod(d, pod.id),
  };
  await removeLeftover(d, leftovers, planned.plan.nameKey, signal);
  using _ = await d.podLock.acquire(planned.plan.id, signal);
  const pod = { ...planned, plan: withOwnLabel(d, planned.plan) };
  const { plan, handler } = pod;
  warnMissingOverhead(d, pod);
  const record = newRecord(d, pod);
  d.pods.insert(record);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => forgetPod(d, plan.id));
  stage("create namespaces and files");
  await d.podHost.create(plan);
  if (plan.pid === "pod" && plan.sandbox === "none") await startInit(d, plan, progress);
  stage("attach the network");
  const ips = plan.network === "own" ? (await d.network.attach(networkPodOf(d, record), signal, detail)).ips : [];
  await d.podHost.setInterfaceSysctls(plan);
  if (plan.sandbox === "container") {
    stage(`start its sandbox with ${handler}`);
    await startSandbox(d, record, signal);
  }
  stage("write the pod's files");
  await d.podHost.writeHosts(plan, ips);
  const ready: PodRecord = { ...d.pods.get(plan.id)!, state: podTransition(record.state, { type: "ready", ips }) };
  // Before it is listed: a retry must not find a pod that cannot be watched.
  watchPod(d, ready);
  d.pods.update(plan.id, () => ready);
  undo.move();
  return plan.id;
}

/** Choosing the level and inserting the record have no await between them, so that no two pods get the same. */
function withOwnLabel(d: Deps, plan: PodPlan): PodPlan {
  if (plan.seLinux === undefined) return plan;
  const used = new Set(d.pods.all().flatMap((pod) => pod.plan.seLinux?.level ?? []));
  return { ...plan, seLinux: withFreeLevel(plan.seLinux, plan.id, used, d.host) };
}

/**
 * Without an overhead a pod pays for its sandbox out of its containers' limits. A kubelet sends an empty one when the
 * RuntimeClass has none.
 */
function warnMissingOverhead(d: Deps, { plan, config, handler }: NewPod): void {
  const { overhead } = d.runtimes.handlerOf(handler).settings;
  const given = config.linux?.overhead;
  const isGiven = given !== undefined && (given.memoryLimitInBytes > 0n || given.cpuShares > 0n || given.cpuQuota > 0n);
  if (overhead === undefined || isGiven) return;
  const podFixed = Object.entries(overhead)
    .map(([resource, quantity]) => `${resource}: ${quantity}`)
    .join(", ");
  d.log.warn(
    { podSandboxId: plan.id, handler },
    `pod ${plan.nameKey} has no overhead; its RuntimeClass should have overhead.podFixed { ${podFixed} }`,
  );
}

function newRecord(d: Deps, { plan, config, handler }: NewPod): PodRecord {
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

/**
 * Recorded as soon as it runs, so that it is found after a crash; a crash before that leaves it to be found by its
 * pod's cgroup.
 */
async function startInit(d: Deps, plan: PodPlan, { stage }: Pick<Progress, "stage">): Promise<void> {
  stage("start the pod's init");
  const init = await d.podHost.startInit(plan);
  d.pods.update(plan.id, (pod) => ({ ...pod, init }));
}

/** Undoes a pod that did not come up. Has its own deadline: the caller's may be what failed. */
async function forgetPod(d: Deps, id: string): Promise<void> {
  const pod = d.pods.get(id);
  if (pod === undefined) return;
  await teardownPod(d, pod, AbortSignal.timeout(d.cleanupTimeoutMs));
  d.pods.delete(id);
}
