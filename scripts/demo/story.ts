import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import {
  ContainerState,
  ContainerStatusRequest,
  CreateContainerRequest,
  ExecSyncRequest,
  ListContainersRequest,
  NamespaceMode,
  PodSandboxStatusRequest,
  PullImageRequest,
  RemoveContainerRequest,
  RemoveImageRequest,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  StartContainerRequest,
  StatusRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { DaemonProcess } from "../daemon-process.ts";
import { type PodNetwork, startKeelsond } from "../keelsond.ts";
import { findProcesses, pssKiB, rssKiB } from "../process-memory.ts";
import { dim, type Steps } from "./steps.ts";
import { assertGapless, readTicks } from "./ticks.ts";

/** What the demo works with. */
export interface Stage {
  readonly steps: Steps;
  /** Everything of the demo's is in here. */
  readonly dir: string;
  readonly network: PodNetwork;
  /** The parent of the pod's cgroups. */
  readonly cgroup: string;
  /** The keelsond that runs now, if one does. */
  daemon: DaemonProcess | undefined;
  /** Ctrl-C. */
  readonly signal: AbortSignal;
}

type Call = <N extends UnaryCallName>(name: N, request: RequestOf<N>) => Promise<ResponseOf<N>>;

const callTimeoutMs = 30_000;
const httpPort = 8080;

/** What the container does: a web page, and a numbered line ten times a second. It ends by itself at SIGTERM. */
const containerScript = [
  "trap 'echo bye; exit 0' TERM",
  `mkdir -p /www && echo "hello from $HOSTNAME" >/www/index.html && httpd -p ${httpPort} -h /www`,
  "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done",
].join("\n");

/**
 * The demo, step by step: from a registry and a daemon to a pod with a container, through the death of the daemon, to
 * the end of them all. Throws the error of the first step that fails; what there is then is in `stage`.
 */
export async function tellStory(stage: Stage): Promise<void> {
  const { steps, dir, network, signal } = stage;
  const call: Call = (name, request) => {
    if (stage.daemon === undefined) throw new Error("keelsond does not run");
    return stage.daemon.client.call(name, request, AbortSignal.any([signal, AbortSignal.timeout(callTimeoutMs)]));
  };
  const start = async () => (stage.daemon = await startKeelsond(dir, network, signal));
  await using registry = await steps.run("start an image registry", async () => {
    const value = await Registry.start();
    return { value, lines: [`${value.host}, in this process`] };
  });
  const image = await steps.run("make an image", async () => {
    const content = busyboxImage();
    const kb = content.layers.reduce((sum, layer) => sum + layer.bytes.length, 0) / 1000;
    return {
      value: registry.add("library/busybox", "latest", content),
      lines: [`busybox from Debian's busybox-static, ${Math.round(kb)} kB`],
    };
  });
  const first = await steps.run("start keelsond", async () => {
    const value = await start();
    const { runtimeVersion } = await call("version", { version: "" });
    return { value, lines: [`version ${runtimeVersion}, process ${value.pid}, ${value.endpoint}`] };
  });
  await steps.run("wait until it is ready", async () => {
    await ready(call);
    return { value: undefined, lines: ["RuntimeReady and NetworkReady (bridge, host-local, portmap)"] };
  });
  const imageId = await steps.run("PullImage", async () => {
    const { imageRef } = await call("pullImage", PullImageRequest.fromPartial({ image: { image } }));
    return { value: imageRef, lines: [image, imageRef] };
  });

  // Labels and PID namespaces are those that kubelets ask for.
  const labels = {
    "io.kubernetes.pod.name": "demo",
    "io.kubernetes.pod.namespace": "default",
    "io.kubernetes.pod.uid": "demo-uid",
  };
  const sandboxConfig = {
    metadata: { name: "demo", uid: "demo-uid", namespace: "default", attempt: 0 },
    hostname: "demo",
    logDirectory: join(dir, "logs"),
    labels,
    linux: {
      cgroupParent: `/${stage.cgroup}`,
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
    },
  };
  const podId = await steps.run("RunPodSandbox", async () => {
    const { podSandboxId } = await call("runPodSandbox", RunPodSandboxRequest.fromPartial({ config: sandboxConfig }));
    return { value: podSandboxId, lines: [podSandboxId.slice(0, 13)] };
  });
  const containerId = await steps.run("CreateContainer", async () => {
    const config = {
      metadata: { name: "ticker", attempt: 0 },
      image: { image: imageId },
      command: ["sh", "-c", containerScript],
      envs: [{ key: "HOSTNAME", value: Buffer.from("demo") }],
      logPath: "ticker.log",
      labels,
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
    };
    const request = CreateContainerRequest.fromPartial({ podSandboxId: podId, config, sandboxConfig });
    const { containerId } = await call("createContainer", request);
    return { value: containerId, lines: [containerId.slice(0, 13)] };
  });
  await steps.run("StartContainer", async () => {
    await call("startContainer", StartContainerRequest.fromPartial({ containerId }));
    return { value: undefined, lines: ["sh, a web page and a line in the log ten times a second"] };
  });
  await steps.run("its network", async () => {
    const { status } = await call("podSandboxStatus", PodSandboxStatusRequest.fromPartial({ podSandboxId: podId }));
    const url = `http://${status?.network?.ip}:${httpPort}/`;
    // The page is there when the shell has come so far.
    const page = await waitFor(() => fetchText(url), { message: `${url} does not answer` });
    return { value: undefined, lines: [`GET ${url} says: ${page.trim()}`] };
  });
  const logFile = join(dir, "logs/ticker.log");
  await steps.run("its log", async () => {
    await waitFor(() => readTicks(logFile).length >= 3, { message: `${logFile} has no three lines` });
    return { value: undefined, lines: [logFile, ...readFileSync(logFile, "utf8").split("\n").slice(0, 3).map(dim)] };
  });
  await steps.run("ExecSync", async () => {
    const cmd = ["sh", "-c", "id -un; hostname; ps -o pid,user,comm"];
    const { exitCode, stdout, stderr } = await call(
      "execSync",
      ExecSyncRequest.fromPartial({ containerId, cmd, timeout: 10n }),
    );
    if (exitCode !== 0) throw new Error(`sh ended with ${exitCode}: ${Buffer.from(stderr).toString()}`);
    return {
      value: undefined,
      lines: [
        "id -un; hostname; ps -o pid,user,comm",
        ...Buffer.from(stdout).toString().trimEnd().split("\n").map(dim),
      ],
    };
  });
  await steps.run("keelctl ps", async () => {
    const keelctl = join(import.meta.dirname, "../../bin/keelctl");
    const { stdout } = await promisify(execFile)(keelctl, ["-r", first.endpoint, "ps"], { signal: signal });
    return { value: undefined, lines: ["the same through the command line", ...stdout.trimEnd().split("\n").map(dim)] };
  });
  await steps.run("its numbers", async () => {
    const { stats } = await call("podSandboxStats", { podSandboxId: podId });
    const {
      containers: [container],
      network,
    } = stats!.linux!;
    const eth0 = network!.defaultInterface!;
    const lines = [
      "PodSandboxStats, and what the kernel says of the rest",
      `container    ${mb(Number(container!.memory!.usageBytes!.value))} memory, ${(Number(container!.cpu!.usageCoreNanoSeconds!.value) / 1e6).toFixed(0)} ms CPU`,
      `network      ${eth0.name}: ${eth0.rxBytes!.value} bytes received, ${eth0.txBytes!.value} sent`,
      `supervisor   ${mb(supervisors(containerId).reduce((sum, pid) => sum + pssKiB(pid) * 1024, 0))} (PSS of conmon)`,
      `pod          no process: its namespaces are pinned by mounts`,
      `keelsond     ${mb(rssKiB(first.pid) * 1024)} (RSS)`,
    ];
    return { value: undefined, lines };
  });

  const killedAtMs = await steps.run("kill -9 keelsond", async () => {
    const value = Date.now();
    await first.end("SIGKILL");
    stage.daemon = undefined;
    return { value, lines: ["and leave it dead for half a second"] };
  });
  await sleep(500, undefined, { signal });
  await steps.run("start keelsond again", async () => {
    const { pid } = await start();
    await ready(call);
    const running = await call(
      "listContainers",
      ListContainersRequest.fromPartial({ filter: { state: { state: ContainerState.CONTAINER_RUNNING } } }),
    );
    if (running.containers[0]?.id !== containerId) throw new Error("the container is no longer listed as running");
    return { value: undefined, lines: [`process ${pid} found the pod and its container running`] };
  });
  await steps.run("nothing was lost", async () => {
    const servingAtMs = Date.now();
    await waitFor(() => (readTicks(logFile).at(-1)?.atMs ?? 0) > servingAtMs, {
      message: "the container logs no more",
    });
    const ticks = readTicks(logFile);
    assertGapless(ticks);
    const meanwhile = ticks.filter(({ atMs }) => atMs > killedAtMs && atMs < servingAtMs).length;
    if (meanwhile === 0) throw new Error("no line was logged while keelsond was down");
    return {
      value: undefined,
      lines: [`lines 1 to ${ticks.length} without a gap, ${meanwhile} of them without a keelsond`],
    };
  });

  await steps.run("StopContainer", async () => {
    await call("stopContainer", StopContainerRequest.fromPartial({ containerId, timeout: 10n }));
    const { status } = await call("containerStatus", ContainerStatusRequest.fromPartial({ containerId }));
    if (status?.exitCode !== 0)
      throw new Error(`the container ended with ${status?.exitCode} (${status?.reason}), not 0`);
    if (!/ stdout F bye$/m.test(readFileSync(logFile, "utf8")))
      throw new Error("the container's last line is not in its log");
    return {
      value: undefined,
      lines: [`SIGTERM; it logged a bye and ended: ${status.reason}, exit code ${status.exitCode}`],
    };
  });
  await steps.run("StopPodSandbox", async () => {
    await call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: podId }));
    return { value: undefined, lines: ["address, interface and namespaces given back"] };
  });
  await steps.run("Remove all three", async () => {
    await call("removeContainer", RemoveContainerRequest.fromPartial({ containerId }));
    await call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: podId }));
    await call("removeImage", RemoveImageRequest.fromPartial({ image: { image } }));
    return { value: undefined, lines: ["container, pod, image"] };
  });
  await steps.run("end keelsond", async () => {
    await stage.daemon?.end("SIGTERM");
    return { value: undefined, lines: ["SIGTERM"] };
  });
}

/** CRI: Status. The network turns ready when keelsond has read the CNI list. */
async function ready(call: Call): Promise<void> {
  let missing = "";
  await waitFor(
    async () => {
      const { status } = await call("status", StatusRequest.fromPartial({}));
      const unmet = (status?.conditions ?? []).filter((condition) => !condition.status);
      missing = unmet.map(({ type, reason, message }) => `${type} is false: ${reason} ${message}`).join("; ");
      return status !== undefined && unmet.length === 0;
    },
    { message: () => missing },
  );
}

async function fetchText(url: string): Promise<string | undefined> {
  try {
    return await (await fetch(url, { signal: AbortSignal.timeout(2000) })).text();
  } catch {
    return undefined; // nobody listens yet
  }
}

function supervisors(containerId: string): number[] {
  return findProcesses(
    (command, args) => args[0]?.endsWith("conmon") === true && command.includes(`--cid ${containerId}`),
  );
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`.padStart(8);
}
