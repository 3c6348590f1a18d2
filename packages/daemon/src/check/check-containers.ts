import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "@keelson/base/status.ts";
import { type ContainerRecord, layersOf } from "@keelson/engine/records/container-record.ts";
import { bundleDir, containerDir } from "@keelson/engine/records/paths.ts";
import { type CgroupLayout, cgroupDirs, detectCgroups } from "@keelson/linux/cgroup.ts";
import { readMounts } from "@keelson/linux/mount.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { bootId, isProcessAlive } from "@keelson/linux/procfs.ts";
import { exitsDir } from "@keelson/runtimes/runtime-paths.ts";
import type { RunningProcesses } from "@keelson/runtimes/runtime.ts";
import { type Finding, shortId } from "./finding.ts";
import { knownPods, type StoreView } from "./store-view.ts";

const recreate = "remove the container; the kubelet then makes a new one";

interface Host {
  readonly boot: string;
  readonly mounts: ReadonlySet<string>;
  readonly cgroups: CgroupLayout;
}

/** What has a record, also one that cannot be read, which is a finding of its own. */
interface Known {
  readonly pods: ReadonlySet<string>;
  readonly layers: ReadonlySet<string>;
}

/** Checks containers against their pods, layers, processes and files; those that have ended need no processes and files. */
export function checkContainers(view: StoreView): Finding[] {
  const host = { boot: bootId(), mounts: new Set(readMounts().map((info) => info.target)), cgroups: detectCgroups() };
  const known = {
    pods: knownPods(view),
    layers: new Set([...view.layers.keys(), ...view.unreadable.layers.map(({ id }) => id)]),
  };
  return [...view.containers.values()].flatMap((container) => checkContainer(view, container, known, host));
}

function checkContainer(view: StoreView, container: ContainerRecord, known: Known, host: Host): Finding[] {
  const problems = new Map<string, string>();
  if (!known.pods.has(container.podId)) problems.set(`its pod ${shortId(container.podId)} has no record`, recreate);
  const missing = layersOf(container).find((id) => !known.layers.has(id));
  if (missing !== undefined)
    problems.set(`its layer ${shortId(missing)} has no record`, `its files may be removed at any time; ${recreate}`);
  const { state } = container;
  if ((state.is === "created" || state.is === "running") && container.bootId === host.boot) {
    for (const [what, means] of [...processProblems(view, container, state), ...fileProblems(view, container, host)])
      problems.set(what, means);
  }
  return [...problems].map(([what, means]) => ({
    about: "container",
    where: shortId(container.id),
    what,
    means,
    repair: undefined,
  }));
}

type Problem = [what: string, means: string];

/** A container whose exit has been written down is as it should be: keelsond records it at once, or when it starts. */
function processProblems(view: StoreView, { id }: ContainerRecord, { main, monitor }: RunningProcesses): Problem[] {
  if (isAlive(monitor)) return [];
  if (existsSync(join(exitsDir(view.paths), id))) return [];
  const means =
    main !== undefined && isAlive(main)
      ? "it runs without logging, and its exit code will not be known"
      : "its exit code is not known; it will be listed as exited with the reason MonitorLost";
  return [[`its monitor, process ${monitor.pid}, is gone without an exit code`, means]];
}

function fileProblems(view: StoreView, { id, state, cgroupPath }: ContainerRecord, host: Host): Problem[] {
  const bundle = bundleDir(view.paths, id);
  const hasEnded = existsSync(join(exitsDir(view.paths), id));
  const problems: Problem[] = [];
  for (const name of ["config.json", "process.json"]) {
    const why = whyNoJson(join(bundle, name));
    if (why !== undefined)
      problems.push([`${join(bundle, name)}: ${why}`, `commands cannot be run in it; ${recreate}`]);
  }
  if (!hasEnded && !host.mounts.has(join(bundle, "rootfs")))
    problems.push([
      `nothing is mounted at ${join(bundle, "rootfs")}`,
      state.is === "created" ? `it cannot be started; ${recreate}` : "it keeps its files as long as it runs",
    ]);
  if (!existsSync(join(containerDir(view.paths, id), "upper")))
    problems.push([
      `its writable layer ${containerDir(view.paths, id)} is missing`,
      `what it wrote is lost; ${recreate}`,
    ]);
  if (!hasEnded && !cgroupDirs(host.cgroups, cgroupPath).some((dir) => existsSync(dir)))
    problems.push([`its cgroup ${cgroupPath} is missing`, `it has no limits and no stats; ${recreate}`]);
  return problems;
}

function isAlive({ pid, startTicks }: ProcessIdentity): boolean {
  return isProcessAlive(pid, startTicks);
}

function whyNoJson(path: string): string | undefined {
  try {
    JSON.parse(readFileSync(path, "utf8"));
    return undefined;
  } catch (error) {
    return error instanceof SyntaxError ? `is no JSON: ${messageOf(error)}` : messageOf(error);
  }
}
