import { Code, codeOf } from "@keelson/base/status.ts";
import {
  ListContainerStatsRequest,
  ListPodSandboxMetricsRequest,
  ListPodSandboxStatsRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { type ContainerSelection, selectContainers, selectPods } from "../select.ts";
import type { Session } from "../session.ts";
import type { UsageSample } from "./usage-row.ts";

/** cAdvisor's names, which runtimes use too: total bytes, one sample for each disk. */
const ioMetrics: ReadonlySet<string> = new Set(["container_fs_reads_bytes_total", "container_fs_writes_bytes_total"]);

/** Asks a runtime for all that `top` shows. What the runtime does not have is left out. */
export async function takeSample(session: Session, flags: ContainerSelection): Promise<UsageSample> {
  const { runtime } = session;
  const filter = flags.pod === undefined ? {} : { filter: { podSandboxId: flags.pod } };
  const podFilter = flags.pod === undefined ? {} : { filter: { id: flags.pod } };
  const [containers, pods, stats, podStats, ioBytes] = await Promise.all([
    selectContainers(session, flags),
    selectPods(session, flags.pod === undefined ? {} : { id: flags.pod }),
    runtime.call("listContainerStats", ListContainerStatsRequest.fromPartial(filter)),
    ifAnswered(runtime.call("listPodSandboxStats", ListPodSandboxStatsRequest.fromPartial(podFilter))),
    ifAnswered(ioBytesOf(session)),
  ]);
  return {
    atMs: performance.now(),
    containers,
    pods,
    containerStats: stats.stats,
    podStats: podStats?.stats ?? [],
    ioBytes,
  };
}

async function ioBytesOf({ runtime }: Session): Promise<Map<string, number>> {
  const { podMetrics } = await runtime.call("listPodSandboxMetrics", ListPodSandboxMetricsRequest.fromPartial({}));
  const bytes = new Map<string, number>();
  for (const { containerId, metrics } of podMetrics.flatMap((pod) => pod.containerMetrics)) {
    const found = metrics.filter(({ name }) => ioMetrics.has(name));
    if (found.length > 0)
      bytes.set(
        containerId,
        found.reduce((total, { value }) => total + Number(value?.value ?? 0n), 0),
      );
  }
  return bytes;
}

const fatal: ReadonlySet<Code> = new Set([Code.Unavailable, Code.Cancelled, Code.DeadlineExceeded]);

/** Undefined when the runtime does not know the call, or cannot answer it now: the rest is shown anyway. */
async function ifAnswered<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (fatal.has(codeOf(error))) throw error;
    return undefined;
  }
}
