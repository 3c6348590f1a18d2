import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { StartContainerRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { findProcesses, memAvailableKiB, pssKiB, rssKiB } from "../process-memory.ts";
import { removePods } from "../remove-pods.ts";
import { benchLabels, create, idleCommand, listContainers, listPods, measure, podConfig, runPod, type Sample } from "./round.ts";
import type { Side } from "./side.ts";

/** What a number of pods with one container each takes on one side. */
export interface MemorySample {
  /** By how much MemAvailable fell, for each pod, in KiB: all processes, the kernel, the daemon's own growth. */
  readonly availableKiB: number;
  /** The daemon's RSS with the pods, in KiB; 0 when its process is not known. */
  readonly daemonRssKiB: number;
  /** PSS for each pod, in KiB, of each kind of process that there is beside the containers' own, by name. */
  readonly helpersPssKiB: ReadonlyMap<string, number>;
  readonly listContainers: readonly Sample[];
  readonly listPodSandbox: readonly Sample[];
}

/** Lists are asked for so often while the pods are there. */
const listRounds = 20;

/** Starts `count` pods with a sleeping container each, looks, and removes them. */
export async function measureMemory(side: Side, image: string, count: number): Promise<MemorySample> {
  const known = new Set(findProcesses(() => true));
  const beforeKiB = await settledMemAvailableKiB();
  for (let index = 0; index < count; index++) {
    const config = podConfig(side, "memory");
    const { podSandboxId } = await runPod(side, config);
    const { containerId } = await create(side, podSandboxId, config, image, idleCommand);
    await side.client.call("startContainer", StartContainerRequest.fromPartial({ containerId }), side.signal);
  }
  const afterKiB = await settledMemAvailableKiB();
  const workload = idleCommand.join(" ");
  const helpers = findProcesses((command) => command !== workload).filter((pid) => !known.has(pid));
  const helpersPssKiB = new Map<string, number>();
  for (const pid of helpers) {
    const name = processName(pid);
    const pss = pssKiB(pid) / count;
    if (pss > 0) helpersPssKiB.set(name, (helpersPssKiB.get(name) ?? 0) + pss);
  }
  const daemonRssKiB = side.pid === undefined ? 0 : rssKiB(side.pid);
  const lists = { listContainers: [] as Sample[], listPodSandbox: [] as Sample[] };
  for (let round = 0; round < listRounds; round++) {
    lists.listContainers.push((await measure(side, () => listContainers(side))).sample);
    lists.listPodSandbox.push((await measure(side, () => listPods(side))).sample);
  }
  await removePods(side.client, benchLabels);
  return { availableKiB: (beforeKiB - afterKiB) / count, daemonRssKiB, helpersPssKiB, ...lists };
}

/** The kernel frees namespaces and cgroups some time after their last user. */
async function settledMemAvailableKiB(): Promise<number> {
  await sleep(2000);
  const samples: number[] = [];
  for (let index = 0; index < 10; index++) {
    samples.push(memAvailableKiB());
    await sleep(50);
  }
  return samples.toSorted((a, b) => a - b)[5] ?? 0;
}

function processName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "ended";
  }
}
