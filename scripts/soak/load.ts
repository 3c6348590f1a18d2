import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  ContainerConfig,
  ContainerState,
  ContainerStatusRequest,
  CreateContainerRequest,
  ListContainersRequest,
  ListPodSandboxRequest,
  NamespaceMode,
  PodSandboxConfig,
  PodSandboxState,
  PullImageRequest,
  RemoveImageRequest,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  StartContainerRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { SideCgroup } from "../bench/side-cgroup.ts";
import { findProcesses, pssKiB, rssKiB } from "../process-memory.ts";
import { Caller } from "./caller.ts";
import { Ledger } from "./ledger.ts";
import { NumberedLog } from "./numbered-log.ts";
import { numberedWriter } from "./numbered-writer.ts";
import { podCgroup, SoakNode } from "./soak-node.ts";

/** As many calls at a time as a kubelet may make when all pods of a node come at once. */
const clients = 10;
const listRounds = 100;
const graceSeconds = 30n;

interface LoadPod {
  readonly podId: string;
  readonly containerId: string;
  readonly logPath: string;
}

/** The result of a load run. */
export interface LoadResult {
  readonly ledger: Ledger;
  /** A line for each figure. */
  readonly figures: readonly string[];
  readonly left: readonly string[];
}

/**
 * Brings up `count` pods with a container each, of these handlers in turns, lists them, kills and restarts the daemon,
 * and takes them down.
 */
export async function load(
  dir: string,
  { count, handlers }: { readonly count: number; readonly handlers: readonly string[] },
  signal: AbortSignal,
  progress: (text: string) => void,
): Promise<LoadResult> {
  const ledger = new Ledger();
  const figures: string[] = [];
  const note = (name: string, text: string) => {
    figures.push(`  ${name.padEnd(28)} ${text}`);
    progress(figures.at(-1)!.trim());
  };
  await using registry = await Registry.start();
  await using node = await SoakNode.start(dir, handlers);
  using callers = new DisposableStack();
  const makers = Array.from({ length: clients }, () => callers.use(new Caller(node, ledger)));
  const [first] = makers as [Caller];
  const image = registry.add("soak/busybox", "latest", busyboxImage());
  await first.call("pullImage", PullImageRequest.fromPartial({ image: { image } }));
  const emptyRssKiB = rssKiB((await node.life()).daemon.pid);
  const cgroup = new SideCgroup(podCgroup);
  cgroup.add((await node.life()).daemon.pid);
  const memoryBeforeKiB = cgroup.memoryKiB();

  const upMs: number[] = [];
  const pods = await timed(note, `${count} pods up`, count, () =>
    inTurns(makers, count, async (caller, index) => {
      signal.throwIfAborted();
      const startedAtMs = performance.now();
      const pod = await bringUp(caller, {
        index,
        image,
        logs: join(dir, "logs"),
        cgroupParent: cgroup.podParent,
        runtimeHandler: handlers[index % handlers.length] ?? "",
      });
      upMs.push(performance.now() - startedAtMs);
      if (upMs.length % 25 === 0) progress(`${upMs.length} pods are up`);
      return pod;
    }),
  );
  noteCalls(note, ledger, ["runPodSandbox", "createContainer", "startContainer"]);
  await sleep(5000, undefined, { signal });
  const conmons = findProcesses((_, args) => args[0]?.endsWith("conmon") === true);
  note(
    "memory for each pod",
    `${kib((cgroup.memoryKiB() - memoryBeforeKiB) / count)}: its container, conmon, the kernel's and the daemon's growth`,
  );
  note(
    "conmon",
    `${kib(conmons.reduce((sum, pid) => sum + pssKiB(pid), 0) / count)} PSS for each of ${conmons.length}`,
  );
  note("daemon, RSS", `${mib(emptyRssKiB)} empty, ${mib(rssKiB((await node.life()).daemon.pid))} with ${count} pods`);

  ledger.takeInterval();
  for (let round = 0; round < listRounds; round++) {
    signal.throwIfAborted();
    await checkAllRun(first, pods);
    await first.call(
      "containerStatus",
      ContainerStatusRequest.fromPartial({ containerId: pods[(round * 7) % count]!.containerId }),
    );
  }
  noteCalls(note, ledger, ["listPodSandbox", "listContainers", "containerStatus"]);
  note("daemon, RSS", `${mib(rssKiB((await node.life()).daemon.pid))} after ${3 * listRounds} of these calls`);

  const restartMs = await node.restart("SIGKILL");
  note("kill -9, started, serving", `${restartMs.toFixed(0)} ms from the start to the first answer`);
  await checkAllRun(first, pods);
  const { daemon } = await node.life();
  note(
    "all found running again",
    `${count} pods READY, ${count} containers RUNNING; daemon ${mib(rssKiB(daemon.pid))}`,
  );
  await sleep(3000, undefined, { signal });

  const logs = new Map<string, number>();
  await timed(note, `${count} pods down`, count, () =>
    inTurns(makers, count, async (caller, index) => {
      logs.set(pods[index]!.podId, await takeDown(caller, pods[index]!));
      if (logs.size % 25 === 0) progress(`${logs.size} pods are down`);
    }),
  );
  noteCalls(note, ledger, ["stopContainer", "stopPodSandbox", "removePodSandbox"]);
  note("logs", `${[...logs.values()].reduce((sum, lines) => sum + lines, 0)} lines, none missing`);
  await first.call("removeImage", RemoveImageRequest.fromPartial({ image: { image } }));
  await sleep(2000, undefined, { signal });
  note("daemon, RSS", `${mib(rssKiB(daemon.pid))} with all of them gone`);
  rmSync(join(dir, "logs"), { recursive: true });
  callers.dispose();
  return { ledger, figures, left: await node.takeDown() };
}

/** A pod to bring up. */
interface NewPod {
  readonly index: number;
  readonly image: string;
  /** The directory of all pods' logs. */
  readonly logs: string;
  readonly cgroupParent: string;
  readonly runtimeHandler: string;
}

async function bringUp(caller: Caller, { index, image, logs, cgroupParent, runtimeHandler }: NewPod): Promise<LoadPod> {
  const name = `load-${index}`;
  const namespaceOptions = { pid: NamespaceMode.CONTAINER };
  const config = PodSandboxConfig.fromPartial({
    metadata: { name, uid: `uid-${name}`, namespace: "load", attempt: 0 },
    hostname: name,
    logDirectory: join(logs, name),
    labels: {
      "io.kubernetes.pod.name": name,
      "io.kubernetes.pod.namespace": "load",
      "io.kubernetes.pod.uid": `uid-${name}`,
    },
    linux: { cgroupParent, securityContext: { namespaceOptions } },
  });
  const { podSandboxId: podId } = await caller.call(
    "runPodSandbox",
    RunPodSandboxRequest.fromPartial({ config, runtimeHandler }),
  );
  const container = ContainerConfig.fromPartial({
    metadata: { name: "writer", attempt: 0 },
    image: { image },
    command: ["sh", "-c", numberedWriter(1, 5)],
    logPath: "writer.log",
    labels: { "io.kubernetes.container.name": "writer", ...config.labels },
    linux: { securityContext: { namespaceOptions } },
  });
  const { containerId } = await caller.call(
    "createContainer",
    CreateContainerRequest.fromPartial({ podSandboxId: podId, config: container, sandboxConfig: config }),
  );
  await caller.call("startContainer", StartContainerRequest.fromPartial({ containerId }));
  return { podId, containerId, logPath: join(config.logDirectory, container.logPath) };
}

async function checkAllRun(caller: Caller, pods: readonly LoadPod[]): Promise<void> {
  const { items } = await caller.call("listPodSandbox", ListPodSandboxRequest.fromPartial({}));
  const { containers } = await caller.call("listContainers", ListContainersRequest.fromPartial({}));
  const ready = new Set(items.filter(({ state }) => state === PodSandboxState.SANDBOX_READY).map(({ id }) => id));
  const running = new Set(
    containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).map(({ id }) => id),
  );
  const lost = pods.filter(({ podId, containerId }) => !ready.has(podId) || !running.has(containerId));
  caller.expect(
    lost.length === 0,
    "every pod and container runs",
    "lists",
    () =>
      `${lost.length} do not: ${lost
        .slice(0, 5)
        .map(({ containerId }) => containerId)
        .join(" ")}`,
  );
}

/** Stops and removes a pod. Returns how many lines its log has; none may be missing. */
async function takeDown(caller: Caller, { podId, containerId, logPath }: LoadPod): Promise<number> {
  await caller.call("stopContainer", StopContainerRequest.fromPartial({ containerId, timeout: graceSeconds }));
  await caller.call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: podId }));
  const log = new NumberedLog();
  try {
    await log.read(logPath);
  } catch (error) {
    caller.fail("every line is in the log, in order", { containerId, logPath }, error);
  }
  caller.expect(
    log.hasEnded,
    "the last line of a stopped container is in its log",
    { containerId, logPath },
    () => `its last line is line ${log.lines}`,
  );
  await caller.call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: podId }));
  return log.lines;
}

/** Does the works 0 to `count` - 1, as many at a time as there are callers. */
async function inTurns<T>(
  callers: readonly Caller[],
  count: number,
  work: (caller: Caller, index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  await Promise.all(
    callers.map(async (caller) => {
      for (let index = next++; index < count; index = next++) results[index] = await work(caller, index);
    }),
  );
  return results;
}

async function timed<T>(
  note: (name: string, text: string) => void,
  name: string,
  count: number,
  work: () => Promise<T>,
): Promise<T> {
  const startedAtMs = performance.now();
  const result = await work();
  const seconds = (performance.now() - startedAtMs) / 1000;
  note(name, `${seconds.toFixed(1)} s, ${clients} at a time: ${(count / seconds).toFixed(1)} a second`);
  return result;
}

function noteCalls(note: (name: string, text: string) => void, ledger: Ledger, names: readonly string[]): void {
  const interval = ledger.takeInterval();
  for (const name of names) {
    const latencies = interval.get(name);
    if (latencies !== undefined)
      note(
        `  ${name}`,
        `p50 ${latencies.quantile(0.5).toFixed(1)} ms, p99 ${latencies.quantile(0.99).toFixed(1)} ms, max ${latencies.maxMs.toFixed(1)} ms, ${latencies.count} calls`,
      );
  }
}

function kib(value: number): string {
  return `${value.toFixed(0)} KiB`;
}

function mib(kib: number): string {
  return `${(kib / 1024).toFixed(1)} MiB`;
}
