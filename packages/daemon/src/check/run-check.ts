import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { databasePath, lockPath } from "@keelson/engine/records/paths.ts";
import { lockInstance } from "@keelson/engine/recovery/instance-lock.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { refuseNewerSchema } from "@keelson/store/schema-version.ts";
import type { Config } from "../config/schema.ts";
import { checkContainers } from "./check-containers.ts";
import { checkDatabase } from "./check-database.ts";
import { checkDirectories } from "./check-directories.ts";
import { checkBlobs, checkImages } from "./check-images.ts";
import { checkLayers } from "./check-layers.ts";
import { checkNetwork } from "./check-network.ts";
import { checkPods } from "./check-pods.ts";
import { type Finding, isSame } from "./finding.ts";
import { pullAgainFor } from "./pull-again.ts";
import { type StoreView, viewStore } from "./store-view.ts";

/** How a finding ended. */
export interface Outcome {
  readonly is: "repaired" | "left";
  /** What was done, or why nothing was. */
  readonly detail: string;
}

export interface CheckReport {
  readonly root: string;
  readonly daemonPid: number | undefined;
  readonly counts: {
    readonly pods: number;
    readonly containers: number;
    readonly images: number;
    readonly layers: number;
  };
  /** Unreadable records that were replaced before this check, and are kept in the table `damaged`. */
  readonly setAside: number;
  readonly findings: readonly { readonly finding: Finding; readonly outcome: Outcome | undefined }[];
}

/** Follows a check as it goes on. */
export interface CheckObserver {
  started(daemonPid: number | undefined): void;
  found(finding: Finding): void;
  ended(finding: Finding, outcome: Outcome): void;
}

/**
 * Verifies the store of a root and, if asked to, repairs what it finds, one thing after the other. Beside a daemon that
 * works with the store it does only what is safe there. Throws NotFound when there is no such root, FailedPrecondition
 * when its store is of a newer build, and whatever else keeps it from looking.
 */
export async function runCheck(config: Config, repair: boolean, observer: CheckObserver): Promise<CheckReport> {
  if (!existsSync(config.root))
    throw new StatusError(Code.NotFound, `there is no directory ${config.root}; name the root with --root or --config`);
  // Before the lock, whose file it would write.
  refuseNewerSchema(databasePath(config));
  await warmThreadPool();
  using lock = lockOrPid(config);
  observer.started(lock.daemonPid);
  const view = viewStore(config, lock.daemonPid);
  const findings: CheckReport["findings"][number][] = [];
  for await (const finding of allFindings(view)) {
    observer.found(finding);
    const outcome = repair ? await outcomeOf(finding, view) : undefined;
    if (outcome !== undefined) observer.ended(finding, outcome);
    findings.push({ finding, outcome });
  }
  const counts = {
    pods: view.pods.size,
    containers: view.containers.size,
    images: view.images.size,
    layers: view.layers.size,
  };
  return { root: config.root, daemonPid: lock.daemonPid, counts, setAside: view.setAside, findings };
}

/** Keeps a daemon from starting while we look, or finds the one that works. */
function lockOrPid(config: Config): Disposable & { daemonPid: number | undefined } {
  const path = lockPath(config);
  try {
    const lock = lockInstance(path);
    return { daemonPid: undefined, [Symbol.dispose]: () => lock[Symbol.dispose]() };
  } catch (error) {
    if (!(error instanceof StatusError) || error.code !== Code.FailedPrecondition) throw error;
    return { daemonPid: Number.parseInt(readFileSync(path, "utf8"), 10) || 0, [Symbol.dispose]: () => {} };
  }
}

/** Cheap things first; records before what is pulled by them. */
async function* allFindings(view: StoreView): AsyncGenerator<Finding> {
  const pullAgain = pullAgainFor(view);
  yield* checkDatabase(view, pullAgain);
  yield* await steadyFindings(view);
  yield* checkImages(view, pullAgain);
  yield* checkLayers(view, pullAgain);
  yield* checkBlobs(view);
}

/** How long to wait before the second look, in ms. */
const secondLookMs = 1000;

/** Findings about what a daemon may just be changing: only those that are found twice. */
async function steadyFindings(view: StoreView): Promise<Finding[]> {
  const first = await stateFindings(view);
  if (view.daemonPid === undefined || first.length === 0) return first;
  await delay(secondLookMs);
  const second = await stateFindings(viewStore(view.config, view.daemonPid));
  return first.filter((finding) => second.some((other) => isSame(finding, other)));
}

async function stateFindings(view: StoreView): Promise<Finding[]> {
  return [...checkPods(view), ...checkContainers(view), ...(await checkNetwork(view)), ...checkDirectories(view)];
}

async function outcomeOf({ repair, means }: Finding, view: StoreView): Promise<Outcome> {
  if (repair === undefined) return { is: "left", detail: means };
  if (view.daemonPid !== undefined && !repair.besideDaemon)
    return {
      is: "left",
      detail: `stop keelsond first (containers go on running), or start it again: --repair ${repair.does}`,
    };
  try {
    return { is: "repaired", detail: await repair.run() };
  } catch (error) {
    return { is: "left", detail: messageOf(error) };
  }
}
