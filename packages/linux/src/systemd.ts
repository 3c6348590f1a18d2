import { setTimeout as sleep } from "node:timers/promises";
import { readCgroup } from "./procfs.ts";
import { run } from "./run.ts";

/** The manager's interface (org.freedesktop.systemd1(5)), which is called with systemd's own busctl. */
const manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
/** What the manager answers about a unit that it does not have. */
const notLoaded = /Unit \S+ not loaded/;

/**
 * Moves a running process into a new scope of a slice (systemd.scope(5)), which systemd creates if necessary, and waits
 * until it is there. The scope is removed after its last process. Its processes may open no device. Throws Error with
 * systemd's message, and the signal's reason.
 *
 * @param scope name of the unit, such as `keelson-init-1234.scope`
 * @param slice name of the unit, such as `kubepods-pod1234.slice`
 */
export async function moveToScope(pid: number, scope: string, slice: string, signal: AbortSignal): Promise<void> {
  const properties = [
    "4",
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
    "DevicePolicy",
    "s",
    "strict",
  ];
  const problem = await call(["StartTransientUnit", "ssa(sv)a(sa(sv))", scope, "fail", ...properties, "0"], signal);
  if (problem !== "") throw new Error(`start ${scope} in ${slice}: ${problem}`);
  // The answer only says that systemd has queued a job for it.
  while (!isIn(pid, scope)) await sleep(2, undefined, { signal });
}

/** Has systemd stop a unit with all its processes; it is no error when there is no such unit. Throws as above. */
export async function stopUnit(name: string, signal: AbortSignal): Promise<void> {
  const problem = await call(["StopUnit", "ss", name, "replace"], signal);
  if (problem !== "" && !notLoaded.test(problem)) throw new Error(`stop ${name}: ${problem}`);
}

/** busctl's message when it failed; empty when it succeeded. */
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
  // A process that has ended needs no waiting for.
  return cgroups === null || cgroups.some(({ path }) => path.endsWith(`/${scope}`));
}
