import { existsSync, rmSync } from "node:fs";
import { podDir } from "@keelson/engine/records/paths.ts";
import { etcFiles, podFiles } from "@keelson/engine/records/pod-files.ts";
import type { PodRecord } from "@keelson/engine/records/pod-record.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { statfs } from "@keelson/linux/file.ts";
import { readMounts } from "@keelson/linux/mount.ts";
import { unpinNamespace } from "@keelson/linux/namespace.ts";
import { bootId, isProcessAlive } from "@keelson/linux/procfs.ts";
import { type Finding, type Repair, shortId } from "./finding.ts";
import type { StoreView } from "./store-view.ts";

const stops = "keelsond's next start takes the pod down; the kubelet then makes a new one";

/**
 * Checks the pins, /dev/shm, files and inits of pods that should be running. What an earlier boot left is no damage.
 */
export function checkPods(view: StoreView): Finding[] {
  const boot = bootId();
  const mounts = new Set(readMounts().map((info) => info.target));
  return [...view.pods.values()].flatMap((pod) =>
    pod.state.is === "ready" && pod.bootId === boot ? checkPod(view, pod, mounts) : [],
  );
}

function checkPod(view: StoreView, { id, plan, init }: PodRecord, mounts: ReadonlySet<string>): Finding[] {
  const dir = podDir(view.paths, id);
  const files = podFiles(dir);
  const finding = (what: string, means: string, repair?: Repair): Finding => ({
    about: "pod",
    where: shortId(id),
    what,
    means,
    repair,
  });
  const found: Finding[] = [];
  const pins = [
    ["network", files.netns, plan.network === "own"],
    ["IPC", files.ipcns, plan.ipc === "own"],
    ["UTS", files.utsns, plan.uts === "own"],
  ] as const;
  for (const [name, pin, isWanted] of pins) {
    if (isWanted && !isNamespace(pin))
      found.push(finding(`its ${name} namespace is no longer pinned at ${pin}`, stops, unpin(pin)));
  }
  if (plan.ipc === "own" && !mounts.has(files.shm))
    found.push(
      finding(
        `nothing is mounted at ${files.shm}`,
        "containers made from now on get a /dev/shm on the host's disk; remove the pod",
      ),
    );
  for (const file of Object.values(etcFiles(dir))) {
    if (!existsSync(file))
      found.push(finding(`${file} is missing`, "no container can be made in it any more; remove the pod"));
  }
  if (init !== undefined && !isProcessAlive(init.pid, init.startTicks))
    found.push(finding(`its init, process ${init.pid}, has ended`, `its containers have ended with it; ${stops}`));
  return found;
}

function unpin(pin: string): Repair | undefined {
  if (!existsSync(pin)) return undefined;
  return {
    does: "removes the dead pin",
    besideDaemon: false,
    run: () => {
      unpinNamespace(pin);
      rmSync(pin, { force: true });
      return Promise.resolve("removed the dead pin");
    },
  };
}

/** NSFS_MAGIC, the type of namespace files (statfs(2)). */
const nsfsMagic = 0x6e736673n;

function isNamespace(path: string): boolean {
  try {
    return statfs(path).type === nsfsMagic;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
