import { PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import { wholeMembers } from "@keelson/store/record-json.ts";
import type { UnreadableRow } from "@keelson/store/record-table.ts";
import * as v from "valibot";
import { likelyId, readable } from "./parse-record.ts";
import { type Paths, podDir } from "./paths.ts";
import { podPlanSchema } from "./pod-plan-schema.ts";
import { type PodRecord, podRecordSchema } from "./pod-record.ts";

const { entries } = podRecordSchema;
const { entries: planEntries } = podPlanSchema;
const members = v.record(v.string(), v.unknown());

/**
 * As much of a pod's record as can be read; what cannot is empty, or what does no harm when it is taken down. Undefined
 * when not even its id can be: nothing of such a row can be addressed.
 */
export function standInForPod(
  { id: rowId, text, reason }: UnreadableRow,
  paths: Paths,
  bootId: string,
): PodRecord | undefined {
  const found = wholeMembers(text);
  const id = likelyId([found["id"], rowId], (each) => podDir(paths, each));
  if (id === undefined) return undefined;
  const name = readable(entries.name, found["name"]) ?? "";
  const config = readable(entries.config, found["config"]) ?? PodSandboxConfig.fromPartial({});
  const whole = readable(podPlanSchema, found["plan"]);
  const plan = whole?.id === id ? whole : undefined;
  const boot = readable(entries.bootId, found["bootId"]) ?? "";
  return {
    id,
    name,
    config,
    plan: plan ?? partOfPlan(id, readable(members, found["plan"]) ?? {}, config, name || id),
    runtimeHandler: readable(entries.runtimeHandler, found["runtimeHandler"]) ?? "",
    handler: readable(entries.handler, found["handler"]) ?? "",
    createdAtNs: readable(entries.createdAtNs, found["createdAtNs"]) ?? 0n,
    bootId: boot,
    // After a boot the pids on record are other processes'.
    init: boot === bootId ? readable(entries.init, found["init"]) : undefined,
    sandbox: boot === bootId ? readable(entries.sandbox, found["sandbox"]) : undefined,
    overhead: readable(entries.overhead, found["overhead"]),
    resources: readable(entries.resources, found["resources"]),
    state: { is: "unreadable", message: reason, hasPlan: plan !== undefined, isStopped: false },
  };
}

/** Never gone by when the pod is taken down, but for its network, and that by what is remembered of it. */
function partOfPlan(
  id: string,
  found: Readonly<Record<string, unknown>>,
  config: PodSandboxConfig,
  name: string,
): PodPlan {
  const known = <T>(schema: v.GenericSchema<unknown, T>, field: keyof PodPlan) => readable(schema, found[field]);
  return {
    id,
    metadata: known(planEntries.metadata, "metadata") ??
      config.metadata ?? { name, uid: "", namespace: "", attempt: 0 },
    nameKey: known(planEntries.nameKey, "nameKey") ?? name,
    runtimeHandler: known(planEntries.runtimeHandler, "runtimeHandler") ?? "",
    labels: known(planEntries.labels, "labels") ?? config.labels,
    annotations: known(planEntries.annotations, "annotations") ?? config.annotations,
    logDirectory: known(planEntries.logDirectory, "logDirectory") ?? "",
    hostname: known(planEntries.hostname, "hostname") ?? "",
    network: known(planEntries.network, "network") ?? "own",
    ipc: known(planEntries.ipc, "ipc") ?? "own",
    uts: known(planEntries.uts, "uts") ?? "own",
    pid: known(planEntries.pid, "pid") ?? "container",
    sysctls: [],
    portMappings: known(planEntries.portMappings, "portMappings") ?? [],
    cgroup: known(planEntries.cgroup, "cgroup") ?? { driver: "cgroupfs", path: `/keelson-${id}`, own: true },
    sandbox: known(planEntries.sandbox, "sandbox") ?? "none",
    shmSizeBytes: 0,
    privileged: false,
  };
}
