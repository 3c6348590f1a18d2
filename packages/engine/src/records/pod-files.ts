import { existsSync } from "node:fs";
import { join } from "node:path";
import type { NamespacePaths } from "@keelson/plan/namespaces.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";

/** The pins of a pod's own namespaces and its mounts, by their place in the pod's directory. */
export function podFiles(dir: string) {
  return {
    userns: join(dir, "userns"),
    netns: join(dir, "netns"),
    ipcns: join(dir, "ipcns"),
    utsns: join(dir, "utsns"),
    pidns: join(dir, "pidns"),
    etc: join(dir, "etc"),
    shm: join(dir, "shm"),
    sysfs: join(dir, "sysfs"),
  };
}

/**
 * The pod's /etc/hosts, /etc/hostname and /etc/resolv.conf. Its containers may write them, so they are on a small file
 * system of their own. Those of a pod that version 0.1.0 made are beside the pins.
 */
export function etcFiles(dir: string) {
  const own = podFiles(dir).etc;
  const etc = !existsSync(own) && existsSync(join(dir, "hostname")) ? dir : own;
  return { hosts: join(etc, "hosts"), hostname: join(etc, "hostname"), resolvConf: join(etc, "resolv.conf") };
}

/** The paths of a pod's own namespaces, except its PID namespace. */
export function ownNamespaces(plan: PodPlan, files: ReturnType<typeof podFiles>): NamespacePaths {
  return {
    ...(plan.userNamespace === undefined ? {} : { user: files.userns }),
    ...(plan.network === "own" ? { network: files.netns } : {}),
    ...(plan.ipc === "own" ? { ipc: files.ipcns } : {}),
    ...(plan.uts === "own" ? { uts: files.utsns } : {}),
  };
}

/** The bundle of the container that is a pod's sandbox; shims require its directory to be named after the container. */
export const sandboxBundle = (dir: string, id: string) => join(dir, "sandbox", id);
