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

/** A call that a kubelet would make on something that hangs. It may fail, and is then repeated. */
export type Attempt = (signal: AbortSignal) => Promise<unknown>;

/** Some pods or containers that hang in one way from `begin` to `end`. */
export interface Hang {
  /** What makes them hang, for the report. */
  readonly what: string;
  readonly attempts: readonly Attempt[];
  begin(): void;
  /** How many of them hang at the moment. */
  count(): number;
  end(): void;
}

/** A pod with a running container. */
export interface Running {
  readonly config: PodSandboxConfig;
  readonly podSandboxId: string;
  readonly containerId: string;
  /** In our PID namespace. */
  readonly mainPid: number;
}

/** Brings up a pod with a container, which uses the mount if there is one. */
export async function runContainer(side: Side, image: string, mount?: DeadMount): Promise<Running> {
  const config = podConfig(side, "hung");
  const { podSandboxId } = await runPod(side, config);
  const [command, mounts] = mount === undefined ? [stoppable, []] : [watchMount, mountsOf(mount.path)];
  const { containerId } = await create(side, { podSandboxId, sandboxConfig: config, image, command, mounts });
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
/** Calls stat on the mount again and again, until one call does not return. */
const watchMount = ["sh", "-c", `while stat ${mountedAt} >/dev/null; do sleep 0.1; done; exec sleep 86400`];

function mountsOf(hostPath: string): { containerPath: string; hostPath: string }[] {
  return [{ containerPath: mountedAt, hostPath }];
}

/** The grace period of stops: short if SIGKILL would not end the hang, and an hour if it would. */
const graceSeconds = { short: 5n, long: 3600n } as const;

/** Containers whose parent (conmon, or containerd's shim) is stopped, so that nobody learns of their end. */
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

/** Containers that call stat on a mount when it dies: their processes cannot be killed. */
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
          {
            podSandboxId,
            sandboxConfig: config,
            image,
            command: stoppable,
            name: "next",
            mounts: mountsOf(mount.path),
          },
          attemptTimeoutMs,
        ),
    ]),
    begin: () => mount.die(),
    count: () => containers.filter(({ mainPid }) => childrenOf(mainPid).some(isLooking)).length,
    end: () => mount.close(),
  };
}

/** A substitute without FUSE: containers whose first process is stopped. */
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

/** Like a probe. */
function exec(side: Side, containerId: string, cmd: string[]): Attempt {
  return attempt(side, "execSync", ExecSyncRequest.fromPartial({ containerId, cmd, timeout: 1n }));
}

function signalAll(pids: readonly number[], signal: "SIGSTOP" | "SIGCONT"): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // The daemon has killed it: then it no longer hangs, and `count` shows that.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** Whether this is a hanging stat(1) of watchMount. Its state is S until a signal comes, then D. */
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

/** The fields after the name, which may contain anything. */
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

/** The freezer of a process's cgroup: freezer.state in v1, cgroup.freeze in v2 (cgroups(7)). */
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

/** In v1 the file says FREEZING while a process in it cannot be frozen, which hangs as well. */
function isFrozen({ file, thawed }: Freezer): boolean {
  return existsSync(file) && readFileSync(file, "utf8").trim() !== thawed;
}
