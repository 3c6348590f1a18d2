import { existsSync, mkdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { systemError } from "@keelson/linux/errno.ts";
import type { ContainerHost } from "../machine/container-host.ts";
import { HostPaths } from "../machine/host-paths.ts";
import { bundleDir, containerDir } from "../records/paths.ts";
import type { FakeNode } from "./fake-node.ts";

/** A ContainerHost of a machine in memory. */
export function fakeContainerHost(node: FakeNode): ContainerHost {
  const remove = (id: string) => {
    for (const thing of node.things)
      if (thing === `rootfs ${id}` || thing.endsWith(` of ${id}`)) node.things.delete(thing);
    rmSync(bundleDir(node.paths, id), { recursive: true, force: true });
    rmSync(containerDir(node.paths, id), { recursive: true, force: true });
  };
  const hostPaths = new HostPaths();
  return {
    // No process if none is needed: tests with a mocked clock cannot wait for one.
    resolveHostPaths: (paths, makeMissing, signal) =>
      paths.every((path) => existsSync(path))
        ? Promise.resolve(
            paths.map((path) => ({ path: realpathSync(path), isDirectory: statSync(path).isDirectory() })),
          )
        : hostPaths.resolve(paths, makeMissing, signal),
    // No process: tests with a mocked clock cannot wait for one.
    lookAtFiles: () => ({
      look: () => Promise.reject(noFile()),
      read: () => Promise.reject(noFile()),
      list: () => Promise.reject(noFile()),
      [Symbol.dispose]: () => {},
    }),
    findPlaces: (_root, paths) => node.effect("container-host find-places", () => paths.map(() => undefined)),
    mountRootfs: (id) =>
      node.effect("container-host mount-rootfs", () => {
        const rootfs = join(bundleDir(node.paths, id), "rootfs");
        mkdirSync(rootfs, { recursive: true });
        mkdirSync(containerDir(node.paths, id), { recursive: true });
        node.things.add(`rootfs ${id}`);
        return rootfs;
      }),
    mountImage: (id, name) =>
      node.effect("container-host mount-image", () => {
        const path = join(bundleDir(node.paths, id), "images", name);
        mkdirSync(path, { recursive: true });
        node.things.add(`image ${name} of ${id}`);
        return path;
      }),
    makeVolume: (id, name, _content, signal) =>
      node.effect(
        "container-host make-volume",
        () => {
          const path = join(containerDir(node.paths, id), "volumes", name);
          mkdirSync(path, { recursive: true });
          return path;
        },
        signal,
      ),
    bindSource: (id, name, _source, _options, signal) =>
      node.effect(
        "container-host bind-source",
        () => {
          const path = join(bundleDir(node.paths, id), "sources", name);
          mkdirSync(path, { recursive: true });
          node.things.add(`source ${name} of ${id}`);
          return path;
        },
        signal,
      ),
    makeDevices: (id, devices) =>
      node.now("container-host make-devices", () =>
        devices.map((_, i) => join(bundleDir(node.paths, id), "sources", "devices", String(i))),
      ),
    unbindSources: (id) =>
      node.effect("container-host unbind-sources", () => {
        for (const thing of node.things)
          if (thing.startsWith("source ") && thing.endsWith(` of ${id}`)) node.things.delete(thing);
      }),
    writeProcess: (id, process) =>
      node.now("container-host write-process", () => void node.processSpecs.set(id, process)),
    readProcess: (id) => node.processSpecs.get(id)!,
    readSpec: (id) => {
      const process = node.processSpecs.get(id);
      return process === undefined ? undefined : { ociVersion: "1.0.2", process };
    },
    commandProblem: () => Promise.resolve(node.commandProblem),
    relabel: (paths, label) => node.effect(`label ${paths.length} paths ${label}`, () => {}),
    thaw: () => node.now("container-host thaw", () => {}),
    memoryInUse: () => node.memoryInUse,
    writeLimits: (cgroup, files) =>
      node.now("container-host write-limits", () => void node.limitFiles.set(cgroup, files)),
    setOomScoreAdj: (cgroup, _earlier, score) =>
      node.now("container-host set-oom-score-adj", () => void node.oomScores.set(basename(cgroup), score)),
    outOfMemory: () => node.oomReport,
    kill: (cgroup, signal) => node.effect("container-host kill", () => node.killIn(cgroup), signal),
    destroy: (id, cgroup, signal) =>
      node.effect(
        "container-host destroy",
        () => {
          remove(id);
          node.removeCgroup(cgroup);
        },
        signal,
      ),
    unmountRootfs: (id) => node.effect("container-host unmount-rootfs", () => void node.things.delete(`rootfs ${id}`)),
    destroyUnknown: (id) => node.effect("container-host destroy-unknown", () => remove(id)),
  };
}

function noFile(): Error {
  return systemError("look at a file of the machine", 2, "openat2");
}
