import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { AttachmentCache } from "@keelson/cni/cache.ts";
import { bootId } from "@keelson/linux/procfs.ts";
import { removal } from "./check-directories.ts";
import { type Finding, shortId } from "./finding.ts";
import { knownPods, type StoreView } from "./store-view.ts";

/** The remembered attachments of pods to networks. */
export async function checkNetwork(view: StoreView): Promise<Finding[]> {
  const directory = view.config.cni.cache_dir ?? join(view.paths.root, "cni");
  const { attachments, damaged } = await new AttachmentCache(directory).list();
  const found = [...damaged].map(([file, reason]) => damagedEntry(file, reason));
  const attached = new Set(attachments.map(({ attachment }) => attachment.containerId));
  const known = knownPods(view);
  for (const id of attached) {
    if (!known.has(id)) found.push(leftover(id));
  }
  for (const { id, plan, state, bootId: boot } of view.pods.values()) {
    const isMissing = state.is === "ready" && boot === bootId() && plan.network === "own" && !attached.has(id);
    if (isMissing)
      found.push({
        about: "network",
        where: shortId(id),
        what: "how this pod was attached is not remembered",
        means: "it will be detached with the network configuration at that time, which may leave its address taken",
        repair: undefined,
      });
  }
  return [...found, ...unfinishedWrites(view, join(directory, "results"))];
}

function damagedEntry(file: string, reason: string): Finding {
  const aside = join(dirname(dirname(file)), "damaged");
  return {
    about: "network",
    where: file,
    what: `cannot be read: ${reason}`,
    means:
      "its pod's address stays taken, and plugins are not asked to free others, as it is not known which are in use",
    repair: {
      does: `moves it to ${aside}; the plugin then frees the address by itself, if it can (CNI 1.1, GC)`,
      besideDaemon: true,
      run: () => {
        mkdirSync(aside, { recursive: true, mode: 0o700 });
        renameSync(file, join(aside, basename(file)));
        return Promise.resolve(`moved to ${aside}`);
      },
    },
  };
}

function leftover(id: string): Finding {
  return {
    about: "network",
    where: shortId(id),
    what: "an attachment of a pod that has no record",
    means: "its address stays taken until keelsond's next start, which detaches it",
    repair: undefined,
  };
}

/** The daemon removes them when it starts; beside it they are writes under way. */
function unfinishedWrites(view: StoreView, directory: string): Finding[] {
  if (view.daemonPid !== undefined || !existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(".tmp"))
    .map((name) => ({
      about: "file",
      where: join(directory, name),
      what: "a write that was cut off",
      means: "nothing; keelsond's next start removes it",
      repair: removal(join(directory, name)),
    }));
}
