import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isErrno } from "@keelson/linux/errno.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { processStartTicks } from "@keelson/linux/procfs.ts";
import type { Deadlines, Handlers, Logging, Records } from "../capabilities.ts";

/**
 * Kills tools that an earlier daemon started: recovery undoes its work or a retry repeats it, and nothing else may
 * continue it.
 */
export async function killLeftovers(d: Records & Handlers & Deadlines & Logging): Promise<void> {
  const pods = new Set(d.pods.all().map((p) => p.id));
  // The container that is a pod's sandbox has the pod's id.
  const creating = new Set(
    [...d.containers.all(), ...d.pods.all()].filter((each) => each.state.is === "creating").map((each) => each.id),
  );
  const runtimeRoots = d.runtimes.all().map(({ root }) => root);
  try {
    const killed = await killLeftoverTools({ pods, creating, runtimeRoots }, AbortSignal.timeout(d.cleanupTimeoutMs));
    for (const command of killed) d.log.warn({ command }, "killed a tool that an earlier daemon had left running");
  } catch (error) {
    d.log.error({ err: error }, "a tool that an earlier daemon had left running cannot be killed");
  }
}

/** What the tools work for that are to be killed. */
export interface LeftoverOwners {
  /** Ids of pods, which CNI plugins have in their environment. */
  readonly pods: ReadonlySet<string>;
  /** Ids of containers, and of pods, that were being created. */
  readonly creating: ReadonlySet<string>;
  /** Where the OCI runtimes keep their state. */
  readonly runtimeRoots: readonly string[];
}

/**
 * Kills the tools that a killed daemon started to make something and that still run, and waits for their end: what they
 * made after recovery would have no record. Monitors of containers go on, and so does CNI DEL: the bridge plugin looks
 * for the addresses of its firewall rules on the interface that it has just removed (plugins 1.1 to 1.6, cmdDel), so it
 * must not be stopped half way. Returns the command lines of what was killed.
 */
export async function killLeftoverTools(owners: LeftoverOwners, signal: AbortSignal): Promise<string[]> {
  const killed = new Set<string>();
  for (;;) {
    const found = processIds().flatMap((pid) => leftoverTool(pid, owners) ?? []);
    if (found.length === 0) return [...killed];
    for (const { pid, startTicks, args } of found) {
      signalProcess(pid, startTicks, 9);
      killed.add(args.join(" "));
    }
    await sleep(2, undefined, { signal });
  }
}

/** Whether a process is a tool that works for one of the owners, by its command line and its environment. */
export function isLeftoverTool(
  args: readonly string[],
  environment: readonly string[],
  owners: LeftoverOwners,
): boolean {
  const variable = (name: string) =>
    environment.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";
  // It starts a container for gVisor's stand-in, which needs no daemon for that.
  if (variable("KEELSON_STAND_IN") !== "") return false;
  if (owners.pods.has(variable("CNI_CONTAINERID"))) return variable("CNI_COMMAND") === "ADD";
  const cid = args.indexOf("--cid");
  // conmon, whose arguments include the runtime's.
  if (cid >= 0) return owners.creating.has(args[cid + 1] ?? "");
  if (!owners.runtimeRoots.some((root) => args.includes(`--root=${root}`))) return false;
  // A container that waits for its start still has the arguments of the `crun create` that it was forked from.
  if (args.includes("create")) return owners.creating.has(args.at(-1) ?? "");
  // Nobody waits for an exec any more; recovery of the container ends what it runs.
  return args.includes("update") || args.includes("start") || args.includes("delete") || args.includes("exec");
}

function leftoverTool(pid: number, owners: LeftoverOwners) {
  const startTicks = processStartTicks(pid);
  const args = readList(pid, "cmdline");
  // A zombie has no arguments.
  if (startTicks === null || args.length === 0 || !isLeftoverTool(args, readList(pid, "environ"), owners))
    return undefined;
  return { pid, startTicks, args };
}

function processIds(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid);
}

/** The strings of a file in which each ends with NUL; none when the process is gone or may not be read. */
function readList(pid: number, name: "cmdline" | "environ"): string[] {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8").split("\0").slice(0, -1);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH", "EACCES", "EPERM")) return [];
    throw error;
  }
}
