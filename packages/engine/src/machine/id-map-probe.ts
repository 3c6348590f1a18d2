import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { dirname, join } from "node:path";
import { messageOf } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { bindMount, unmount, unmountAllUnder } from "@keelson/linux/mount.ts";
import { createNamespacesAsync, unpinNamespaceAsync } from "@keelson/linux/namespace.ts";
import { mountOverlayAsync } from "@keelson/linux/overlay.ts";
import { removeTreeAsync } from "@keelson/linux/tree.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";

export type IdMapFacts = Pick<HostFacts, "recursiveReadOnlyMounts" | "idMapProblem">;

const hostId = 65_536;

/**
 * Tries on this kernel and file system what pods with user namespaces and recursively read-only mounts need. Versions
 * alone do not say: distributions backport calls, and file systems differ.
 *
 * @param dir on the file system of the layers. It is made and removed, with what an earlier probe left in it.
 * @param bundles the directory of all bundles, which the root users of user namespaces must be able to reach.
 */
export async function probeIdMaps(dir: string, bundles: string): Promise<IdMapFacts> {
  const files = {
    userns: join(dir, "userns"),
    lower: join(dir, "lower"),
    mapped: join(dir, "mapped"),
    upper: join(dir, "upper"),
    work: join(dir, "work"),
    merged: join(dir, "merged"),
  };
  await remove(dir, files.userns);
  for (const name of [files.lower, files.mapped, files.upper, files.work, files.merged])
    mkdirSync(name, { recursive: true, mode: 0o700 });
  try {
    return {
      recursiveReadOnlyMounts: canBindReadOnly(files.lower, files.mapped),
      idMapProblem: closedParent(bundles) ?? (await idMapProblem(files)),
    };
  } finally {
    await remove(dir, files.userns);
  }
}

function canBindReadOnly(source: string, target: string): boolean {
  try {
    bindMount(source, target, { recursive: true, readonly: "recursive" });
    unmount(target);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOSYS", "EPERM", "EINVAL")) return false;
    throw error;
  }
}

async function idMapProblem(
  files: Record<"userns" | "lower" | "mapped" | "upper" | "work" | "merged", string>,
): Promise<string> {
  writeFileSync(join(files.lower, "file"), "");
  const ids = [{ containerId: 0, hostId, length: 1 }];
  try {
    await createNamespacesAsync({ user: { pin: files.userns, uids: ids, gids: ids } });
  } catch (error) {
    return `this machine does not allow user namespaces (${messageOf(error)}); check the sysctl user.max_user_namespaces`;
  }
  try {
    bindMount(files.lower, files.mapped, { idmap: files.userns });
  } catch (error) {
    return `the file system of keelsond's root directory has no idmapped mounts on Linux ${release()} (${messageOf(error)}); use Linux 5.19 or newer and a file system such as ext4 or xfs`;
  }
  try {
    await mountOverlayAsync({
      lowerDirs: [files.mapped],
      upperDir: files.upper,
      workDir: files.work,
      target: files.merged,
    });
  } catch (error) {
    return `overlayfs takes no idmapped layers on Linux ${release()} (${messageOf(error)}); it needs 5.19`;
  }
  if (statSync(join(files.merged, "file")).uid === hostId) return "";
  return `overlayfs does not show the ids of idmapped layers on Linux ${release()}; it needs 5.19`;
}

/** path_resolution(7): every directory on the way must be searchable for users other than root. */
function closedParent(path: string): string | undefined {
  const { mode } = statSync(path);
  if ((mode & 0o001) === 0)
    return `the directory ${path} is closed to other users (mode ${(mode & 0o7777).toString(8)}), who cannot reach the containers' files below it; open it with chmod o+x and restart keelsond`;
  return path === "/" ? undefined : closedParent(dirname(path));
}

async function remove(dir: string, userns: string): Promise<void> {
  await unpinNamespaceAsync(userns);
  await unmountAllUnder(dir);
  await removeTreeAsync(dir);
}
