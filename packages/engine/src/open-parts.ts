import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import type { Log } from "@keelson/base/log.ts";
import { openImages } from "@keelson/images/open-images.ts";
import { type CgroupLayout, detectCgroups } from "@keelson/linux/cgroup.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { bootId } from "@keelson/linux/procfs.ts";
import { CniNetwork } from "@keelson/networks/cni-network.ts";
import { createPluginExec } from "@keelson/networks/plugin-exec.ts";
import { formatReference, parseReference } from "@keelson/oci/reference.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import { findBinary } from "@keelson/runtimes/find-program.ts";
import { openRuntimes } from "@keelson/runtimes/runtimes.ts";
import { openOrSalvage } from "@keelson/store/database-salvage.ts";
import { RecordTable } from "@keelson/store/record-table.ts";
import { refuseNewerSchema } from "@keelson/store/schema-version.ts";
import { CdiSpecDirs } from "./cdi/spec-dirs.ts";
import { checkOwnLimits } from "./container/container-policy.ts";
import { ProgramChecks } from "./holes/program-checks.ts";
import type { Parts } from "./join-parts.ts";
import { loadDefaultAppArmor } from "./machine/apparmor.ts";
import { LinuxContainerHost } from "./machine/container-host.ts";
import { collectHostFacts } from "./machine/host.ts";
import { probeIdMaps } from "./machine/id-map-probe.ts";
import { LinuxPodHost } from "./machine/pod-host.ts";
import { layersOf, readContainerRecord, whyLayersAreHeld, writeContainerRecord } from "./records/container-record.ts";
import { openRecords } from "./records/open-records.ts";
import { bundleDir, containerDir, containersDir, databasePath, lockPath, podDir, probeDir } from "./records/paths.ts";
import { readPodRecord, writePodRecord } from "./records/pod-record.ts";
import { lockInstance } from "./recovery/instance-lock.ts";
import type { EngineSettings } from "./settings.ts";
import { availableOn, machineOf } from "./stats/machine.ts";
import { LinuxUsageSource } from "./stats/usage-source.ts";

/** What the program around an engine provides. */
export type Surroundings = Pick<Parts, "log" | "tally" | "streaming" | "onOperationEnded">;

/** A kubelet retries within a minute or two. */
const lingerMs = 240_000;

/**
 * Opens what an engine is made of, for this process alone: the state on disk, the images, the runtimes, the networks.
 * Changes nothing on the machine except what the parts themselves need. `closing` gets what must end with the engine.
 * Throws FailedPrecondition when another process has this root, and whatever else keeps the engine from starting.
 */
export async function openParts(
  settings: EngineSettings,
  surroundings: Surroundings,
  closing: AsyncDisposableStack,
): Promise<Parts> {
  const { paths, cni, timeouts, containers: containerPolicy } = settings;
  const { log, tally } = surroundings;
  // Before anything is touched, on disk or on the machine.
  refuseNewerSchema(databasePath(paths));
  prepareDirectories(settings, closing);
  // Before any namespace is entered: the pool's threads keep the namespaces in which they were created.
  await warmThreadPool();
  const cgroups = detectCgroups();
  const host = await hostFacts(settings, cgroups, log);
  checkOwnLimits(containerPolicy, host.capabilities, readFileSync("/proc/self/limits", "utf8"));
  const db = openOrSalvage(databasePath(paths), log);
  closing.defer(() => db.close());
  const { pods, containers, strayRows } = openRecords(
    {
      pods: new RecordTable(db, "pods", readPodRecord, writePodRecord),
      containers: new RecordTable(db, "containers", readContainerRecord, writeContainerRecord),
    },
    paths,
    bootId(),
    log,
  );
  const images = await openImages(
    {
      root: paths.root,
      db,
      log,
      layersInUse: () => containers.all().flatMap(layersOf),
      whyLayersAreHeld: () => whyLayersAreHeld(containers.all(), strayRows.containers),
    },
    settings.images,
  );
  closing.use(images);
  const otherConfDirs = [
    ...new Set(Object.values(settings.runtimes.sections).flatMap((handler) => handler.cni_conf_dir ?? [])),
  ];
  const ending = new AbortController();
  closing.defer(() => ending.abort());
  const holes = new ProgramChecks({
    log,
    refuses: settings.security.refuseKnownVulnerable,
    ending: ending.signal,
  });
  const network = new CniNetwork({
    ...cni,
    log,
    check: holes,
    otherConfDirs,
    exec: createPluginExec(process.env),
    cleanupTimeoutMs: timeouts.cleanupMs,
    onForgotten: () => tally.dropped("detached_pods"),
  });
  closing.defer(() => network.close());
  await network.start();
  const runtimes = openRuntimes({
    settings: settings.runtimes,
    paths,
    host,
    cgroups,
    log,
    ending: ending.signal,
    check: holes,
  });
  await runtimes.refreshFacts();
  const source = new LinuxUsageSource(cgroups, host.hugepageSizes);
  return {
    ...surroundings,
    paths,
    host,
    bootId: bootId(),
    pods,
    containers,
    strayRows,
    podHost: new LinuxPodHost((id) => podDir(paths, id), cgroups),
    containerHost: new LinuxContainerHost(
      (id) => bundleDir(paths, id),
      (id) => containerDir(paths, id),
      cgroups,
    ),
    runtimes,
    network,
    images: images.store,
    puller: images.puller,
    usage: { source, machine: machineOf(source, containersDir(paths)), available: availableOn(cgroups) },
    pinnedImages: new Set(settings.pinnedImages.map((name) => formatReference(parseReference(name)))),
    mountPolicy: settings.mounts,
    podPolicy: settings.pods,
    containerPolicy,
    cdi: new CdiSpecDirs(settings.cdiSpecDirs),
    holes,
    lingerMs,
    createTimeoutMs: timeouts.createMs,
    stopTimeoutMs: timeouts.stopMs,
    cleanupTimeoutMs: timeouts.cleanupMs,
    newId: () => randomBytes(32).toString("hex"),
    nowNs: () => BigInt(Date.now()) * 1_000_000n,
  };
}

function prepareDirectories({ paths }: EngineSettings, closing: AsyncDisposableStack): void {
  mkdirSync(paths.root, { recursive: true, mode: 0o700 });
  // An existing one may be open to the machine's users, and images contain setuid programs.
  chmodSync(paths.root, 0o700);
  closing.use(lockInstance(lockPath(paths)));
  for (const dir of [containersDir(paths), bundleDir(paths, ""), podDir(paths, "")])
    mkdirSync(dir, { recursive: true, mode: 0o711 });
  chmodSync(paths.state, 0o711);
}

async function hostFacts({ paths, cgroupDriver }: EngineSettings, cgroups: CgroupLayout, log: Log): Promise<HostFacts> {
  const facts = collectHostFacts(cgroups, cgroupDriver, await probeIdMaps(probeDir(paths), bundleDir(paths, "")));
  return {
    ...facts,
    appArmorDefaultProfile: facts.appArmorEnabled ? await loadDefaultAppArmor(findBinary("apparmor_parser"), log) : "",
  };
}
