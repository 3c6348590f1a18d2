import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { planSandboxCgroup } from "@keelson/plan/cgroup-path.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import type { PodHost } from "../machine/pod-host.ts";
import { podDir } from "../records/paths.ts";
import { sandboxBundle } from "../records/pod-files.ts";
import type { FakeNode } from "./fake-node.ts";

/** A PodHost of a machine in memory. */
export function fakePodHost(node: FakeNode): PodHost {
  const initCgroup = (plan: PodPlan) => planSandboxCgroup(plan).path;
  const remove = (id: string) => {
    for (const kind of ["netns", "ipcns", "utsns", "pidns", "shm", "hosts"]) node.things.delete(`${kind} ${id}`);
    rmSync(podDir(node.paths, id), { recursive: true, force: true });
  };
  return {
    create: (plan) =>
      node.effect("pod-host create", () => {
        mkdirSync(podDir(node.paths, plan.id), { recursive: true });
        if (plan.network === "own") node.things.add(`netns ${plan.id}`);
        if (plan.ipc === "own") node.things.add(`ipcns ${plan.id}`).add(`shm ${plan.id}`);
        if (plan.uts === "own") node.things.add(`utsns ${plan.id}`);
      }),
    startInit: (plan) =>
      node.effect("pod-host start-init", () => {
        node.cgroups.add(initCgroup(plan));
        if (plan.cgroup.own) node.cgroups.add(plan.cgroup.path);
        node.things.add(`pidns ${plan.id}`);
        return node.start("init", plan.id, initCgroup(plan));
      }),
    makeSandboxRootfs: (plan) =>
      node.effect("pod-host make-sandbox-rootfs", () => {
        const rootfs = join(sandboxBundle(podDir(node.paths, plan.id), plan.id), "rootfs");
        mkdirSync(rootfs, { recursive: true });
        return rootfs;
      }),
    setInterfaceSysctls: () => Promise.resolve(),
    writeHosts: (plan) => node.effect("pod-host write-hosts", () => void node.things.add(`hosts ${plan.id}`)),
    watch: (init, onEnd) => node.now("pod-host watch", () => node.watch(init.pid, onEnd)),
    isIntact: (plan, init) =>
      node.now(
        "pod-host is-intact",
        () =>
          (init === undefined || node.processes.has(init.pid)) &&
          (plan.network === "host" || node.things.has(`netns ${plan.id}`)),
      ),
    destroy: (plan, _init, signal) =>
      node.effect(
        "pod-host destroy",
        () => {
          for (const p of node.processes.values()) {
            if (p.kind === "main" && node.podOf(p.ownerId) === plan.id)
              node.violations.push(`pod ${plan.id} was taken down under container ${p.ownerId}`);
          }
          node.killIn(initCgroup(plan));
          remove(plan.id);
          node.removeCgroup(initCgroup(plan));
          if (plan.cgroup.own) node.removeCgroup(plan.cgroup.path);
        },
        signal,
      ),
    destroyUnknown: (id) =>
      node.effect("pod-host destroy-unknown", () => {
        for (const p of node.processes.values()) {
          if (p.kind !== "init" || p.ownerId !== id) continue;
          node.killIn(p.cgroup);
          node.removeCgroup(p.cgroup);
        }
        remove(id);
        node.killIn(`/keelson-${id}`);
        node.removeCgroup(`/keelson-${id}`);
      }),
  };
}
