import { Code, StatusError } from "@keelson/base/status.ts";
import type { AttachedPod } from "./attached-pod.ts";

/**
 * CNI_ARGS for a pod, with the names that plugins for Kubernetes know. IgnoreUnknown is for plugins that would refuse
 * unknown names.
 */
export function cniArgs(pod: AttachedPod): [string, string][] {
  return [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", pod.namespace],
    ["K8S_POD_NAME", pod.name],
    ["K8S_POD_INFRA_CONTAINER_ID", pod.id],
    ["K8S_POD_UID", pod.uid],
  ];
}

/**
 * The capability arguments (CNI CONVENTIONS.md, "Dynamic Plugin specific fields") for which the pod has values. Throws
 * InvalidArgument for a bandwidth annotation that is malformed or out of range.
 */
export function capabilityArgs(pod: AttachedPod): Record<string, unknown> {
  const ports = pod.portMappings.filter((port) => port.hostPort > 0);
  const bandwidth = bandwidthOf(pod.annotations);
  return {
    ...(ports.length === 0
      ? {}
      : {
          portMappings: ports.map(({ hostPort, containerPort, protocol, hostIP }) => ({
            hostPort,
            containerPort,
            protocol,
            hostIP,
          })),
        }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(pod.dns === undefined ? {} : { dns: pod.dns }),
    ...(pod.cgroupPath === undefined ? {} : { cgroupPath: pod.cgroupPath }),
    // containerd's name for it, which multus and others read.
    "io.kubernetes.cri.pod-annotations": pod.annotations,
  };
}

/** In bits; as in containerd, so large that only the rate matters. */
const burst = 2 ** 32 - 1;

function bandwidthOf(annotations: Readonly<Record<string, string>>): object | undefined {
  const ingress = rateOf(annotations, "kubernetes.io/ingress-bandwidth");
  const egress = rateOf(annotations, "kubernetes.io/egress-bandwidth");
  if (ingress === undefined && egress === undefined) return undefined;
  return {
    ...(ingress === undefined ? {} : { ingressRate: ingress, ingressBurst: burst }),
    ...(egress === undefined ? {} : { egressRate: egress, egressBurst: burst }),
  };
}

/** Bits per second, in the range that Kubernetes allows (k8s.io/kubernetes/pkg/util/bandwidth: 1k to 1P). */
function rateOf(annotations: Readonly<Record<string, string>>, name: string): number | undefined {
  const text = Object.hasOwn(annotations, name) ? annotations[name] : undefined;
  if (text === undefined) return undefined;
  const rate = parseQuantity(text);
  if (rate === undefined || rate < 1e3 || rate > 1e15) {
    throw new StatusError(
      Code.InvalidArgument,
      `annotation ${name}: ${JSON.stringify(text.slice(0, 40))} must be a quantity from 1k to 1P, such as 10M`,
    );
  }
  return rate;
}

const suffixes: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/**
 * Parses a Kubernetes quantity ("10M", "1.5Gi", "1e6") and rounds it up to a whole number; undefined when malformed.
 */
export function parseQuantity(text: string): number | undefined {
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text);
  if (match === null) return undefined;
  const [, digits = "", exponent = "", suffix = ""] = match;
  return Math.ceil(Number(digits + exponent) * (suffixes[suffix] ?? 1));
}
