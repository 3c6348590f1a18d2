import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "@keelson/base/version.ts";
import type { Deps } from "@keelson/engine/deps.ts";

/** How many dumps are kept: the state directory is in memory. */
const maxDumps = 5;
const namePattern = /^dump-\d+\.json$/;

/**
 * Writes what the daemon is busy with to a file in its state directory, to find out why something hangs: pods and
 * containers with their states, operations under way with their stage and its age, locks with their age and number of
 * waiters, pulls. Of what clients sent, only names and ids. Returns the file's path.
 */
export function writeDump(d: Deps): string {
  const atMs = Number(d.nowNs() / 1_000_000n);
  const dumps = readdirSync(d.paths.state)
    .filter((name) => namePattern.test(name))
    .sort();
  for (const name of dumps.slice(0, Math.max(0, dumps.length - maxDumps + 1)))
    rmSync(join(d.paths.state, name), { force: true });
  const file = join(d.paths.state, `dump-${atMs}.json`);
  writeFileSync(file, `${JSON.stringify(dumpOf(d, atMs), null, 2)}\n`, { mode: 0o600 });
  return file;
}

function dumpOf(d: Deps, atMs: number): object {
  const ageMs = (sinceMs: number) => Math.round(performance.now() - sinceMs);
  return {
    at: new Date(atMs).toISOString(),
    version,
    pid: process.pid,
    uptimeSeconds: Math.round(process.uptime()),
    memory: process.memoryUsage(),
    resources: process
      .getActiveResourcesInfo()
      .reduce<Record<string, number>>((counts, name) => ({ ...counts, [name]: (counts[name] ?? 0) + 1 }), {}),
    operations: d.operations.running().map(({ call, name, podUid, containerId, durationMs, stages }) => {
      const stage = stages.at(-1);
      const busyWith = stage?.details.at(-1)?.name;
      return {
        call,
        name,
        podUid,
        containerId,
        ageMs: Math.round(durationMs),
        stage: stage?.name,
        stageAgeMs: stage && Math.round(durationMs - stage.startMs),
        busyWith,
      };
    }),
    locks: [...d.podLock.held()].map(({ key, sinceMs, waiting }) => ({
      podSandboxId: key,
      heldMs: ageMs(sinceMs),
      waiting,
    })),
    joined: [...d.creations.running(), ...d.stops.running(), ...d.takedowns.running()].map(
      ({ key, stage, stageSinceMs }) => ({ key, stage, stageAgeMs: ageMs(stageSinceMs) }),
    ),
    pulls: d.puller.pullsInProgress(),
    pods: d.pods.all().map(({ id, name, handler, state }) => ({ id, name, handler, state: state.is })),
    containers: d.containers.all().map(({ id, name, podId, handler, state }) => ({
      id,
      name,
      podId,
      handler,
      state: state.is,
      pid: "main" in state ? state.main?.pid : undefined,
    })),
  };
}
