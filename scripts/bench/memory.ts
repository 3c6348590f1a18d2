import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { StartContainerRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { findProcesses, memAvailableKiB, pssKiB, rssKiB } from "../process-memory.ts";
import { removePods } from "../remove-pods.ts";
import {
  benchLabels,
  create,
  idleCommand,
  listContainers,
  listPods,
  measure,
  podConfig,
  runPod,
  type Sample,
} from "./round.ts";
import type { Side } from "./side.ts";
import { median } from "./statistics.ts";

/** The memory that a number of pods with one container each takes on one side. */
export interface MemorySample {
  /** How much MemAvailable fell for each pod, in KiB: all processes, the kernel, the daemon's own growth. */
  readonly availableKiB: number;
  /** How much the memory of the side's cgroup grew for each pod, in KiB; NaN when it has none. */
  readonly cgroupKiB: number;
  /** The daemon's RSS with the pods, in KiB; 0 when its process is not known. */
  readonly daemonRssKiB: number;
  /** PSS for each pod, in KiB, by the names of the processes that are not the containers' own. */
  readonly helpersPssKiB: ReadonlyMap<string, number>;
  readonly listContainers: readonly Sample[];
  readonly listPodSandbox: readonly Sample[];
}

/** How often lists are requested while the pods run. */
const listRounds = 20;

/** Starts `count` pods with a sleeping container each, measures, and removes them. */
export async function measureMemory(side: Side, image: string, count: number): Promise<MemorySample> {
  const known = new Set(findProcesses(() => true));
  const beforeKiB = await settledMemAvailableKiB();
  const cgroupBeforeKiB = side.cgroup?.memoryKiB() ?? Number.NaN;
  for (let index = 0; index < count; index++) {
    const config = podConfig(side, "memory");
    const { podSandboxId } = await runPod(side, config);
    const { containerId } = await create(side, { podSandboxId, sandboxConfig: config, image, command: idleCommand });
    await side.client.call("startContainer", StartContainerRequest.fromPartial({ containerId }), side.signal);
  }
  const afterKiB = await settledMemAvailableKiB();
  const cgroupKiB = ((side.cgroup?.memoryKiB() ?? Number.NaN) - cgroupBeforeKiB) / count;
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
  return { availableKiB: (beforeKiB - afterKiB) / count, cgroupKiB, daemonRssKiB, helpersPssKiB, ...lists };
}

/**
 * MemAvailable once it is steady: the kernel may take some seconds to free what namespaces, cgroups and processes held.
 * On a busy machine, its value after 6 s.
 */
export async function settledMemAvailableKiB(): Promise<number> {
  const samples: number[] = [];
  for (let index = 0; index < 24; index++) {
    await sleep(250);
    samples.push(memAvailableKiB());
    const last = samples.slice(-8);
    if (last.length === 8 && Math.max(...last) - Math.min(...last) < 1024) break;
  }
  return median(samples.slice(-8));
}

function processName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "ended";
  }
}
