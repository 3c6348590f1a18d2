import { setTimeout as sleep } from "node:timers/promises";
import { readCgroup } from "./procfs.ts";
import { run } from "./run.ts";

/** The manager's interface (org.freedesktop.systemd1(5)), asked by systemd's own busctl. */
const manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
/** What the manager answers for a unit that it does not have. */
const notLoaded = /Unit \S+ not loaded/;

/**
 * Puts a running process into a new scope of a slice (systemd.scope(5)), which systemd makes when it is not there, and
 * waits until it is in it. The scope goes by itself after its last process. Throws Error with what systemd says, and the signal's reason.
 *
 * @param scope name of the unit, such as `keelson-init-1234.scope`
 * @param slice name of the unit, such as `kubepods-pod1234.slice`
 */
export async function moveToScope(pid: number, scope: string, slice: string, signal: AbortSignal): Promise<void> {
  const properties = [
    "3",
    "PIDs",
    "au",
    "1",
    String(pid),
    "Slice",
    "s",
    slice,
    "CollectMode",
    "s",
    "inactive-or-failed",
  ];
  const problem = await call(["StartTransientUnit", "ssa(sv)a(sa(sv))", scope, "fail", ...properties, "0"], signal);
  if (problem !== "") throw new Error(`start ${scope} in ${slice}: ${problem}`);
  // The answer is a job that has yet to run.
  while (!isIn(pid, scope)) await sleep(2, undefined, { signal });
}

/** Has systemd stop a unit with all that is in it and forget it; nothing happens when it has no such unit. Throws as above. */
export async function stopUnit(name: string, signal: AbortSignal): Promise<void> {
  const problem = await call(["StopUnit", "ss", name, "replace"], signal);
  if (problem !== "" && !notLoaded.test(problem)) throw new Error(`stop ${name}: ${problem}`);
}

/** What busctl says on stderr when it failed; empty when all went well. */
async function call(args: readonly string[], signal: AbortSignal): Promise<string> {
  const { code, stderr } = await run(
    { file: "busctl", args: ["--system", "--quiet", "call", ...manager, ...args], env: { PATH: process.env["PATH"] } },
    signal,
  );
  if (code === 0) return "";
  return stderr.toString().trim() || `busctl ended with ${code}`;
}

function isIn(pid: number, scope: string): boolean {
  const cgroups = readCgroup(pid);
  // Ended: there is nothing to wait for.
  return cgroups === null || cgroups.some(({ path }) => path.endsWith(`/${scope}`));
}
