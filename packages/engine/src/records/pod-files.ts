import { join } from "node:path";
import type { NamespacePaths } from "@keelson/plan/namespaces.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";

/** The pins of a pod's own namespaces and its files, by their place in the pod's directory. */
export function podFiles(dir: string) {
  return {
    userns: join(dir, "userns"),
    netns: join(dir, "netns"),
    ipcns: join(dir, "ipcns"),
    utsns: join(dir, "utsns"),
    pidns: join(dir, "pidns"),
    hosts: join(dir, "hosts"),
    hostname: join(dir, "hostname"),
    resolvConf: join(dir, "resolv.conf"),
    shm: join(dir, "shm"),
    sysfs: join(dir, "sysfs"),
  };
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
