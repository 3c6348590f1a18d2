import type { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { OomKill } from "@keelson/linux/kernel-log.ts";
import type { MemoryPressure } from "@keelson/linux/memory-cgroup.ts";
import { formatBytes } from "@keelson/plan/format-bytes.ts";
import type { ExitReport } from "@keelson/runtimes/runtime.ts";
import type { ExitReason } from "../records/container-state.ts";

/** What is known about the processes of a container that the kernel's OOM killer killed. */
export interface OomReport extends MemoryPressure {
  /** Oldest first; empty when the kernel's log does not name them: it reports at most 10 kills in 5 s. */
  victims: readonly OomKill[];
}

interface Ended {
  readonly cgroupPath: string;
  readonly stopSignal: { readonly number: number };
  readonly resources: Pick<LinuxContainerResources, "memoryLimitInBytes"> | undefined;
}

/**
 * The reason and message for the end of a container with an exit code. Whichever process was killed, the first or one
 * that it waited for: a container that fails after an OOM kill is OOMKilled, unless it ended by the signal that
 * StopContainer sends. The message names the kill in any case.
 */
export function endOf(
  report: ExitReport,
  oom: OomReport | undefined,
  container: Ended,
): { reason: ExitReason; message: string } {
  const { exitCode } = report;
  if (oom === undefined && !report.oomKilled) return { reason: exitCode === 0 ? "Completed" : "Error", message: "" };
  const wasStopped = container.stopSignal.number !== sigkill && exitCode === 128 + container.stopSignal.number;
  const reason = exitCode === 0 ? "Completed" : wasStopped ? "Error" : "OOMKilled";
  const after = exitCode === 128 + sigkill ? "" : `; the container went on and ended with exit code ${exitCode}`;
  return { reason, message: `${describeKill(oom, container)}${after}` };
}

const sigkill = 9;

function describeKill(oom: OomReport | undefined, container: Ended): string {
  const victim = oom?.victims.at(-1);
  if (oom === undefined || victim === undefined)
    return `a process was killed: ${oom === undefined ? "the container ran out of memory" : limitOf(oom, container)}`;
  const more = oom.oomKills > 1 ? `; it was the last of ${oom.oomKills} processes killed` : "";
  return `process ${JSON.stringify(victim.name)} (pid ${victim.pid}) was killed: ${limitOfVictim(victim, oom, container)}${more}`;
}

/** Which limit it was, according to the kernel's log. */
function limitOfVictim({ cgroup, limitedCgroup }: OomKill, oom: OomReport, container: Ended): string {
  const { cgroupPath } = container;
  if (limitedCgroup === undefined) return "the machine ran out of memory";
  // The log's paths begin at the machine's root, ours at the root of our cgroup namespace.
  const root = cgroup.slice(0, `${cgroup}/`.lastIndexOf(`${cgroupPath}/`));
  const limited = limitedCgroup.startsWith(`${root}/`) ? limitedCgroup.slice(root.length) : limitedCgroup;
  if (limited === cgroupPath) return ownLimit(oom, container);
  if (limited.startsWith(`${cgroupPath}/`))
    return `the memory limit of the cgroup ${limited.slice(cgroupPath.length)} inside the container was reached`;
  return `the memory limit of ${limited || "/"}, the cgroup above the container, was reached`;
}

function limitOf(oom: OomReport, container: Ended): string {
  return oom.hasReachedLimit
    ? ownLimit(oom, container)
    : "not by the container's own memory limit but by another, such as its pod's or that of a cgroup inside the container, or because the machine ran out of memory";
}

function ownLimit({ limitBytes: found }: OomReport, { resources }: Ended): string {
  const asked = Number(resources?.memoryLimitInBytes ?? 0n);
  const limitBytes = found ?? (asked > 0 ? asked : undefined);
  return limitBytes === undefined
    ? "the container's memory limit was reached"
    : `the container's memory limit of ${formatBytes(limitBytes)} was reached`;
}
