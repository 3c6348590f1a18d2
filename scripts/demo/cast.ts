import { ContainerConfig, NamespaceMode, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Stage } from "./stage.ts";

/** The pod and its container. */
export interface Cast {
  readonly podId: string;
  readonly containerId: string;
}

/** The port of the container's web page. */
export const httpPort = 8080;

/** What the container does: it serves a web page, logs a numbered line ten times a second, and ends at SIGTERM. */
const containerScript = [
  "trap 'echo bye; exit 0' TERM",
  `mkdir -p /www && echo "hello from $HOSTNAME" >/www/index.html && httpd -p ${httpPort} -h /www`,
  "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done",
].join("\n");

/** As a kubelet sends them. */
const labels = {
  "io.kubernetes.pod.name": "demo",
  "io.kubernetes.pod.namespace": "default",
  "io.kubernetes.pod.uid": "demo-uid",
};
const securityContext = { namespaceOptions: { pid: NamespaceMode.CONTAINER } };

export function podConfig({ logDir, cgroup }: Stage): PodSandboxConfig {
  return PodSandboxConfig.fromPartial({
    metadata: { name: "demo", uid: "demo-uid", namespace: "default", attempt: 0 },
    hostname: "demo",
    logDirectory: logDir,
    labels,
    linux: { cgroupParent: `/${cgroup}`, securityContext },
  });
}

export function containerConfig({ logName }: Stage, imageId: string): ContainerConfig {
  return ContainerConfig.fromPartial({
    metadata: { name: "ticker", attempt: 0 },
    image: { image: imageId },
    command: ["sh", "-c", containerScript],
    envs: [{ key: "HOSTNAME", value: Buffer.from("demo") }],
    logPath: logName,
    labels,
    linux: { securityContext },
  });
}
