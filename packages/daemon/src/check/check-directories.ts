import { join } from "node:path";
import { silentLog } from "@keelson/base/log.ts";
import { LinuxContainerHost } from "@keelson/engine/machine/container-host.ts";
import { collectHostFacts } from "@keelson/engine/machine/host.ts";
import { LinuxPodHost } from "@keelson/engine/machine/pod-host.ts";
import { bundleDir, containerDir, podDir } from "@keelson/engine/records/paths.ts";
import { detectCgroups } from "@keelson/linux/cgroup.ts";
import { removeTreeAsync } from "@keelson/linux/tree.ts";
import { exitsDir } from "@keelson/runtimes/runtime-paths.ts";
import { openRuntimes } from "@keelson/runtimes/runtimes.ts";
import { runtimesSettings } from "../config/engine-settings.ts";
import { type Finding, type Repair, shortId } from "./finding.ts";
import { knownContainers, knownPods, type StoreView } from "./store-view.ts";

const byStart = "keelsond's next start removes it";
const mayBeOfRow = "a record that cannot be read may be of it: it is left as it is";

/** What lies in the store and belongs to no record, readable or not. */
export function checkDirectories(view: StoreView): Finding[] {
  return [...strayContainers(view), ...strayPods(view), ...strayExits(view), ...strayLayers(view)];
}

/** A repair that removes a file or directory. */
export function removal(path: string): Repair {
  return {
    does: "removes it",
    besideDaemon: false,
    run: async () => {
      await removeTreeAsync(path);
      return "removed";
    },
  };
}

function strayContainers(view: StoreView): Finding[] {
  const ids = new Set([...view.names.bundles, ...view.names.writableLayers]);
  const known = knownContainers(view);
  const isHeld = view.unreadable.strayRows.containers > 0;
  return [...ids]
    .filter((id) => !known.has(id))
    .map((id) => ({
      about: "directory",
      where: [bundleDir(view.paths, id), containerDir(view.paths, id)]
        .filter((_, index) => [view.names.bundles, view.names.writableLayers][index]?.includes(id))
        .join(" and "),
      what: "a container's, which has no record",
      means: `it takes space, and the container may still run; ${isHeld ? mayBeOfRow : byStart}`,
      repair: isHeld
        ? undefined
        : {
            does: "ends the container, unmounts and removes it",
            besideDaemon: false,
            run: () => destroyContainer(view, id),
          },
    }));
}

async function destroyContainer({ config, paths }: StoreView, id: string): Promise<string> {
  const cgroups = detectCgroups();
  if (/^[0-9a-f]{64}$/.test(id)) {
    const runtimes = openRuntimes({
      settings: runtimesSettings(config),
      paths,
      host: collectHostFacts(cgroups, config.cgroup_driver),
      cgroups,
      log: silentLog,
    });
    // Its handler is not known; any other has nothing to delete.
    for (const { runtime } of runtimes.all())
      await runtime.delete(
        { id, bundleDir: bundleDir(paths, id) },
        AbortSignal.timeout(config.timeouts.cleanup * 1000),
      );
  }
  await new LinuxContainerHost(
    (each) => bundleDir(paths, each),
    (each) => containerDir(paths, each),
    cgroups,
  ).destroyUnknown(id);
  return "removed";
}

function strayPods(view: StoreView): Finding[] {
  const known = knownPods(view);
  const { pods, containers } = view.unreadable.strayRows;
  const isHeld = pods > 0 || containers > 0 || known.has("");
  return view.names.podDirs
    .filter((id) => !known.has(id))
    .map((id) => ({
      about: "directory",
      where: podDir(view.paths, id),
      what: "a pod's, which has no record",
      means: `it keeps namespaces; ${isHeld ? mayBeOfRow : byStart}`,
      repair: isHeld
        ? undefined
        : {
            does: "unpins, unmounts and removes it",
            besideDaemon: false,
            run: async () => {
              await new LinuxPodHost((each) => podDir(view.paths, each), detectCgroups()).destroyUnknown(id);
              return "removed";
            },
          },
    }));
}

/** conmon also writes one for a container that is just being removed: beside a daemon they mean nothing. */
function strayExits(view: StoreView): Finding[] {
  if (view.daemonPid !== undefined || view.unreadable.strayRows.containers > 0) return [];
  const known = knownContainers(view);
  return view.names.exits
    .filter((id) => !known.has(id))
    .map((id) => ({
      about: "file",
      where: join(exitsDir(view.paths), id),
      what: `the exit code of container ${shortId(id)}, which has no record`,
      means: "nothing",
      repair: removal(join(exitsDir(view.paths), id)),
    }));
}

function strayLayers(view: StoreView): Finding[] {
  const unreadable = view.unreadable.layers;
  const known = new Set([
    "empty",
    ...[...view.layers.values()].flatMap((layer) => [layer.directory, ...(layer.formerDirectories ?? [])]),
    ...unreadable.flatMap(({ directory }) => directory ?? []),
  ]);
  // Any directory may be of a layer whose record does not say.
  const isAllTold = unreadable.every(({ directory }) => directory !== undefined);
  // Beside a daemon, what is being unpacked or removed has such a name, and a new layer its own before its record.
  if (view.daemonPid !== undefined) return [];
  return view.names.layers
    .filter((name) => !known.has(name) && (isAllTold || name.startsWith(".")))
    .map((name) => ({
      about: "directory",
      where: join(view.paths.root, "layers", name),
      what: name.startsWith(".") ? "what a pull or a removal that was cut off left" : "a layer's, which has no record",
      means: `it takes space; ${byStart}`,
      repair: removal(join(view.paths.root, "layers", name)),
    }));
}
