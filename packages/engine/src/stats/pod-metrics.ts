import type { Metric, MetricDescriptor, PodSandboxMetrics } from "@keelson/cri/gen/runtime/v1/api.ts";
import { type Available, baseLabels, type Machine, type Measured } from "./measured.ts";
import { type Definition, definitions } from "./metric-definitions.ts";

/** ListMetricDescriptors: everything that this machine can measure and `podSandboxMetricsOf` reports. */
export function metricDescriptors(available: Available): MetricDescriptor[] {
  return definitionsFor(available).map(({ name, help, labels }) => ({
    name,
    help,
    labelKeys: [...baseLabels, ...labels],
  }));
}

/** A pod as a whole, if that could be measured, and its running containers. */
interface MeasuredPod {
  readonly podId: string;
  readonly pod: Measured | undefined;
  readonly containers: readonly { readonly id: string; readonly measured: Measured }[];
}

/** ListPodSandboxMetrics: what the descriptors promise, for a pod as a whole and for its running containers. */
export function podSandboxMetricsOf(
  { podId, pod, containers }: MeasuredPod,
  machine: Machine,
  available: Available,
): PodSandboxMetrics {
  const definitions = definitionsFor(available);
  return {
    podSandboxId: podId,
    metrics: pod === undefined ? [] : metricsOf(definitions, pod, machine),
    containerMetrics: containers.map(({ id, measured }) => ({
      containerId: id,
      metrics: metricsOf(definitions, measured, machine),
    })),
  };
}

function definitionsFor(available: Available): Definition[] {
  return definitions.filter(({ needs }) => needs === undefined || available[needs]);
}

function metricsOf(wanted: readonly Definition[], m: Measured, machine: Machine): Metric[] {
  const base = baseLabels.map((label) => m.subject[label]);
  const metrics: Metric[] = [];
  for (const { name, type, values } of wanted) {
    for (const [labels, value] of values(m, machine)) {
      metrics.push({
        name,
        timestamp: m.atNs,
        metricType: type,
        labelValues: labels.length === 0 ? base : [...base, ...labels],
        value: { value },
      });
    }
  }
  return metrics;
}
