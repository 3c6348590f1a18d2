import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, type StatusError } from "@keelson/base/status.ts";
import type { AttachedPod } from "./attached-pod.ts";
import { capabilityArgs, cniArgs, parseQuantity } from "./capability-args.ts";

const pod: AttachedPod = {
  id: "3f2a",
  name: "web",
  namespace: "default",
  uid: "u1",
  netnsPath: "/run/pin",
  portMappings: [],
  annotations: {},
};

test("plugins are given the pod's names and ids", () => {
  assert.deepEqual(Object.fromEntries(cniArgs(pod)), {
    IgnoreUnknown: "1",
    K8S_POD_NAMESPACE: "default",
    K8S_POD_NAME: "web",
    K8S_POD_INFRA_CONTAINER_ID: "3f2a",
    K8S_POD_UID: "u1",
  });
});

test("only values that a pod has become arguments", () => {
  assert.deepEqual(capabilityArgs(pod), { "io.kubernetes.cri.pod-annotations": {} });
  const annotations = { "kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1Gi" };
  const dns = { servers: ["10.0.0.10"], searches: [], options: [] };
  const ports = [
    { protocol: "tcp", containerPort: 80, hostPort: 8080, hostIP: "" },
    { protocol: "udp", containerPort: 53, hostPort: 0, hostIP: "" },
  ] as const;
  assert.deepEqual(capabilityArgs({ ...pod, annotations, dns, portMappings: ports, cgroupPath: "/kubepods/p1" }), {
    portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 8080, hostIP: "" }],
    bandwidth: { ingressRate: 1e7, ingressBurst: 2 ** 32 - 1, egressRate: 2 ** 30, egressBurst: 2 ** 32 - 1 },
    dns,
    cgroupPath: "/kubepods/p1",
    "io.kubernetes.cri.pod-annotations": annotations,
  });
});

test("quantities are parsed as in Kubernetes", () => {
  for (const [text, value] of [
    ["10M", 1e7],
    ["1.5Ki", 1536],
    ["1e6", 1e6],
    ["2E3", 2000],
    ["100m", 1],
    [".5k", 500],
    ["5.", 5],
    ["-1", -1],
    ["1E", 1e18],
  ] as const) {
    assert.equal(parseQuantity(text), value, text);
  }
  for (const text of ["", "10 M", "M", "1KB", "0x10", "1e", "1.2.3", "Infinity", "NaN", "1Mi "])
    assert.equal(parseQuantity(text), undefined, text);
});

test("a bandwidth that is malformed, too small or too large is refused", () => {
  for (const value of ["fast", "999", "2P", "-10M", "1e999", ""]) {
    assert.throws(
      () => capabilityArgs({ ...pod, annotations: { "kubernetes.io/egress-bandwidth": value } }),
      (error: StatusError) =>
        error.code === Code.InvalidArgument &&
        /^annotation kubernetes.io\/egress-bandwidth: ".*" must be a quantity from 1k to 1P/.test(error.message),
      value,
    );
  }
});
