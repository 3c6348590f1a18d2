import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  ContainerStatusRequest,
  ExecSyncRequest,
  type PodSandboxConfig,
  ReopenContainerLogRequest,
  StartContainerRequest,
  StopContainerRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, UnaryCallName } from "@keelson/cri/service.ts";
import type { DeadMount } from "@keelson/testkit/dead-mount.ts";
import { create, podConfig, runPod, stoppable } from "./round.ts";
import { call, type Side } from "./side.ts";

/** A call that a kubelet would have under way on what hangs; it may fail, and is then made again. */
export type Attempt = (signal: AbortSignal) => Promise<unknown>;

/** Some pods or containers that hang in one way from `begin` to `end`. */
export interface Hang {
  /** For the reader: of what they hang. */
  readonly what: string;
  readonly attempts: readonly Attempt[];
  begin(): void;
  /** How many hang now. */
  count(): number;
  end(): void;
}

/** A pod with a container that runs. */
export interface Running {
  readonly config: PodSandboxConfig;
  readonly podSandboxId: string;
  readonly containerId: string;
  /** In our PID namespace. */
  readonly mainPid: number;
}

/** Brings up a pod with a container, which uses the mount where there is one. */
export async function runContainer(side: Side, image: string, mount?: DeadMount): Promise<Running> {
  const config = podConfig(side, "hung");
  const { podSandboxId } = await runPod(side, config);
  const [command, mounts] = mount === undefined ? [stoppable, []] : [watchMount, mountsOf(mount.path)];
  const { containerId } = await create(side, podSandboxId, config, image, command, { mounts });
  await call(side, "startContainer", StartContainerRequest.fromPartial({ containerId }));
  const { info } = await call(
    side,
    "containerStatus",
    ContainerStatusRequest.fromPartial({ containerId, verbose: true }),
  );
  return {
    config,
    podSandboxId,
    containerId,
    mainPid: Number((JSON.parse(info["info"] ?? "{}") as { pid?: number }).pid),
  };
}

/** Where containers have the mount that dies. */
const mountedAt = "/dead";
/** Looks at it again and again, until one look does not end. */
const watchMount = ["sh", "-c", `while stat ${mountedAt} >/dev/null; do sleep 0.1; done; exec sleep 86400`];

function mountsOf(hostPath: string): { containerPath: string; hostPath: string }[] {
  return [{ containerPath: mountedAt, hostPath }];
}

/** A stop signal is given so many seconds where SIGKILL would not end the hang, and an hour where it would. */
const graceSeconds = { short: 5n, long: 3600n } as const;

/** Containers whose parent is stopped: conmon, or containerd's shim. Nobody learns of their end. */
export function stoppedMonitors(side: Side, containers: readonly Running[]): Hang {
  const pids = containers.map(({ mainPid }) => parentOf(mainPid));
  return {
    what: `stopped ${nameOf(pids[0])}`,
    attempts: containers.flatMap(({ containerId }) => [
      stop(side, containerId, graceSeconds.short),
      exec(side, containerId, ["true"]),
      attempt(side, "reopenContainerLog", ReopenContainerLogRequest.fromPartial({ containerId })),
    ]),
    begin: () => signalAll(pids, "SIGSTOP"),
    count: () => pids.filter((pid) => stateOf(pid) === "T").length,
    end: () => signalAll(pids, "SIGCONT"),
  };
}

/** Pods whose CNI plugin sleeps. */
export function sleepingPlugins(side: Side, count: number): Hang {
  const { plugins } = side;
  if (plugins === undefined) throw new Error(`${side.name}: its CNI plugins are not ours to make sleep`);
  const configs = Array.from({ length: count }, () => podConfig(side, "hung"));
  return {
    what: "sleeping CNI plugin",
    attempts: configs.map((config) => (signal) => runPod({ ...side, signal }, config, attemptTimeoutMs)),
    begin: () => plugins.hang(),
    count: () => plugins.count(),
    end: () => plugins.release(),
  };
}

/** Containers in a frozen cgroup, where a signal waits for the thaw. */
export function frozenCgroups(side: Side, containers: readonly Running[]): Hang {
  const freezers = containers.map(({ mainPid }) => freezerOf(mainPid));
  return {
    what: "frozen cgroup",
    attempts: containers.flatMap(({ containerId }) => [
      stop(side, containerId, graceSeconds.long),
      exec(side, containerId, ["true"]),
    ]),
    begin: () => freezers.forEach(({ file, frozen }) => writeFileSync(file, frozen)),
    count: () => freezers.filter((freezer) => isFrozen(freezer)).length,
    end: () =>
      freezers.filter(({ file }) => existsSync(file)).forEach(({ file, thawed }) => writeFileSync(file, thawed)),
  };
}

/** Containers that look at a mount when it dies: their processes cannot be killed. */
export function deadMounts(side: Side, containers: readonly Running[], image: string, mount: DeadMount): Hang {
  return {
    what: "dead mount",
    attempts: containers.flatMap(({ config, podSandboxId, containerId }) => [
      stop(side, containerId, graceSeconds.short),
      exec(side, containerId, ["stat", mountedAt]),
      // The next container of a pod that has such a volume.
      (signal) =>
        create(
          { ...side, signal },
          podSandboxId,
          config,
          image,
          stoppable,
          { name: "next", mounts: mountsOf(mount.path) },
          attemptTimeoutMs,
        ),
    ]),
    begin: () => mount.die(),
    count: () => containers.filter(({ mainPid }) => childrenOf(mainPid).some(isLooking)).length,
    end: () => mount.close(),
  };
}

/** Where there is no FUSE: containers whose first process is stopped. */
export function stoppedProcesses(side: Side, containers: readonly Running[]): Hang {
  const pids = containers.map(({ mainPid }) => mainPid);
  return {
    what: "stopped process",
    attempts: containers.flatMap(({ containerId }) => [
      stop(side, containerId, graceSeconds.long),
      exec(side, containerId, ["true"]),
    ]),
    begin: () => signalAll(pids, "SIGSTOP"),
    count: () => pids.filter((pid) => stateOf(pid) === "T").length,
    end: () => signalAll(pids, "SIGCONT"),
  };
}

/** Longer than anything hangs. */
const attemptTimeoutMs = 3_600_000;

function attempt<N extends UnaryCallName>(side: Side, name: N, request: RequestOf<N>): Attempt {
  return (signal) => call({ ...side, signal }, name, request, attemptTimeoutMs);
}

function stop(side: Side, containerId: string, timeout: bigint): Attempt {
  return attempt(side, "stopContainer", StopContainerRequest.fromPartial({ containerId, timeout }));
}

/** As a probe does it. */
function exec(side: Side, containerId: string, cmd: string[]): Attempt {
  return attempt(side, "execSync", ExecSyncRequest.fromPartial({ containerId, cmd, timeout: 1n }));
}

function signalAll(pids: readonly number[], signal: "SIGSTOP" | "SIGCONT"): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // The daemon has killed it: then it hangs no more, which `count` tells.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** A stat(1) of watchMount: where there is an answer it takes no time. Its state is S until a signal comes, and then D. */
function isLooking(pid: number): boolean {
  return nameOf(pid) === "stat" && stateOf(pid) !== "Z";
}

/** `T` is stopped, `Z` a zombie (proc_pid_stat(5)); undefined when the process has ended. */
function stateOf(pid: number): string | undefined {
  return statOf(pid)?.[0];
}

function nameOf(pid: number | undefined): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return undefined; // it has ended
  }
}

function parentOf(pid: number): number {
  return Number(statOf(pid)?.[1]);
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** The fields after the name, which may hold anything. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

interface Freezer {
  readonly file: string;
  readonly frozen: string;
  readonly thawed: string;
}

/** Of the cgroup of a process: freezer.state of v1, cgroup.freeze of v2 (cgroups(7)). */
function freezerOf(pid: number): Freezer {
  const root = "/sys/fs/cgroup";
  const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(":"));
  const v1 = groups.find(([, controllers]) => controllers === "freezer");
  if (v1 !== undefined)
    return { file: join(root, "freezer", v1[2] ?? "", "freezer.state"), frozen: "FROZEN", thawed: "THAWED" };
  const path = groups.find(([id]) => id === "0")?.[2] ?? "";
  const dir = readdirSync(root).includes("cgroup.controllers") ? root : join(root, "unified");
  return { file: join(dir, path, "cgroup.freeze"), frozen: "1", thawed: "0" };
}

/** Of v1 the file says FREEZING while a process in it cannot be frozen; that hangs as well. */
function isFrozen({ file, thawed }: Freezer): boolean {
  return existsSync(file) && readFileSync(file, "utf8").trim() !== thawed;
}
