import { existsSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";

const root = "/sys/fs/cgroup";

/**
 * Removes the parent cgroup of pods from every hierarchy. A kubelet creates and removes the cgroups of its pods itself
 * (CRI: LinuxPodSandboxConfig.cgroup_parent), so a script in its place has to do that too. Throws EBUSY while a process
 * is in it.
 */
export function removePodCgroup(name: string): void {
  const hierarchies = existsSync(join(root, "cgroup.procs")) ? [root] : readdirSync(root).map((dir) => join(root, dir));
  for (const hierarchy of hierarchies) {
    const dir = join(hierarchy, name);
    if (existsSync(dir)) removeTree(dir);
  }
}

function removeTree(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(dir, entry.name));
  }
  rmdirSync(dir);
}
