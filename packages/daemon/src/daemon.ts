import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { JoinedCalls } from "@keelson/base/joined-calls.ts";
import { KeyedLock } from "@keelson/base/keyed-lock.ts";
import type { Log } from "@keelson/base/log.ts";
import { type CallObserver, createCriServer } from "@keelson/cri/server.ts";
import { type CgroupLayout, detectCgroups } from "@keelson/linux/cgroup.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { bootId } from "@keelson/linux/procfs.ts";
import { formatReference, parseReference } from "@keelson/oci/reference.ts";
import { loadDefaultAppArmor } from "@keelson/engine/machine/apparmor.ts";
import { logCalls } from "./call-log.ts";
import { CdiSpecDirs } from "@keelson/engine/cdi/spec-dirs.ts";
import type { Config } from "./config/schema.ts";
import { containerPolicyOf } from "./parts/container-policy.ts";
import { LinuxContainerHost } from "@keelson/engine/machine/container-host.ts";
import { ExitWatch } from "@keelson/engine/container/exit-watch.ts";
import { type ContainerRecord, layersOf, readContainerRecord, writeContainerRecord } from "@keelson/engine/records/container-record.ts";
import { askRuntimeOf } from "@keelson/engine/stats/ask-runtime.ts";
import { releaseContainer } from "@keelson/engine/container/teardown.ts";
import { openOrSalvage } from "@keelson/store/database-salvage.ts";
import type { Deps } from "@keelson/engine/deps.ts";
import { writeDump } from "./dump.ts";
import { Events } from "@keelson/engine/records/events.ts";
import { collectHostFacts } from "@keelson/engine/machine/host.ts";
import { probeIdMaps } from "@keelson/engine/machine/id-map-probe.ts";
import { openImages } from "./parts/open-images.ts";
import { lockInstance } from "@keelson/engine/recovery/instance-lock.ts";
import { killLeftoverTools } from "@keelson/engine/recovery/leftover-tools.ts";
import { DaemonMetrics } from "./metrics/daemon-metrics.ts";
import { serveMetrics } from "./metrics/server.ts";
import { createPluginExec } from "@keelson/networks/exec.ts";
import { PodNetworks } from "@keelson/networks/pod-networks.ts";
import { bundleDir, containerDir, containersDir, databasePath, lockPath, podDir, type Paths, probeDir } from "@keelson/engine/records/paths.ts";
import { LinuxPodHost } from "@keelson/engine/machine/pod-host.ts";
import { type PodRecord, readPodRecord, writePodRecord } from "@keelson/engine/records/pod-record.ts";
import { RecordStore } from "@keelson/store/record-store.ts";
import { RecordTable } from "@keelson/store/record-table.ts";
import { recover } from "@keelson/engine/recovery/recovery.ts";
import { createHandlers } from "@keelson/engine/calls/handlers.ts";
import { findBinary } from "@keelson/runtimes/find-program.ts";
import { openRuntimes, type Runtimes } from "@keelson/runtimes/runtimes.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import { Operations } from "@keelson/engine/operations.ts";
import { StatsCollector } from "@keelson/engine/stats/collector.ts";
import { availableOn, machineOf } from "@keelson/engine/stats/machine.ts";
import { LinuxUsageSource } from "@keelson/engine/stats/usage-source.ts";
import { prepareSocket, restrictSocket } from "./socket-file.ts";
import { streamingBackend } from "@keelson/engine/streams/streaming-backend.ts";
import { StreamingServer } from "@keelson/streaming/server.ts";
import { version } from "@keelson/base/version.ts";

export interface Daemon {
  /** Ends calls under way, or drops them after `graceMs`. Containers go on running. */
  close(graceMs: number): Promise<void>;
  /** Writes what it is busy with to a file; returns its path. */
  dump(): string;
}

/** How often CPU time is read for `usage_nano_cores`, in ms; rates are over the last seconds up to this. */
const samplePeriodMs = 10_000;
/** How long clients of exec, attach and port-forward may take to hear that the daemon ends, in ms. */
const streamGraceMs = 2000;

/** How long a call whose client's deadline is over goes on for the retry, in ms; kubelets retry within a minute or two. */
const lingerMs = 240_000;

/**
 * Starts the daemon: one for its root, recovered, listening. The only place where its parts are
 * built and joined; `adjust` may put others in their place. Throws what keeps it from starting; then
 * nothing is held.
 */
export async function startDaemon(config: Config, log: Log, adjust: (d: Deps) => Deps = (d) => d): Promise<Daemon> {
  const startedMs = performance.now();
  const paths: Paths = { root: config.root, state: config.state };
  await using parts = new AsyncDisposableStack();
  mkdirSync(paths.root, { recursive: true, mode: 0o700 });
  // One that was there may be open to the machine's users, and images bring setuid programs.
  chmodSync(paths.root, 0o700);
  parts.use(lockInstance(lockPath(paths)));
  // Before any namespace is entered: the pool's threads keep those of their birth.
  await warmThreadPool();
  for (const dir of [containersDir(paths), bundleDir(paths, ""), podDir(paths, "")]) mkdirSync(dir, { recursive: true, mode: 0o711 });
  chmodSync(paths.state, 0o711);
  const streaming = streamingServer(config, log);
  const deps = adjust(await buildDeps(config, paths, streaming, log, parts));
  await killLeftovers(deps);
  await recover(deps);
  const socket = config.socket.slice("unix://".length);
  await prepareSocket(socket);
  deps.metrics.describe(deps);
  await openMetrics(config, deps, parts);
  streaming.connect(streamingBackend(deps));
  parts.defer(() => streaming.close(streamGraceMs));
  const server = createCriServer(createHandlers(deps), both(logCalls(log), deps.metrics));
  await server.listen(config.socket);
  restrictSocket(socket);
  log.info({ version, socket: config.socket, root: paths.root, ms: Math.round(performance.now() - startedMs) }, "serving");
  const all = parts.move();
  return {
    async close(graceMs) {
      await server.close(graceMs);
      await all.disposeAsync();
    },
    dump: () => writeDump(deps),
  };
}

/** What the daemon before had begun is undone by recovery, or done again by a retry; nothing else may go on with it. */
async function killLeftovers(d: Deps): Promise<void> {
  const pods = new Set(d.pods.all().map((p) => p.id));
  // A pod that is a container of its runtime has one of its own id.
  const creating = new Set([...d.containers.all(), ...d.pods.all()].filter((each) => each.state.is === "creating").map((each) => each.id));
  const runtimeRoots = d.runtimes.all().map(({ root }) => root);
  try {
    const killed = await killLeftoverTools({ pods, creating, runtimeRoots }, AbortSignal.timeout(d.cleanupTimeoutMs));
    for (const command of killed) d.log.warn({ command }, "killed a tool that the daemon before had left at work");
  } catch (error) {
    d.log.error({ err: error }, "a tool that the daemon before had left at work cannot be killed");
  }
}

function both(a: CallObserver, b: CallObserver): CallObserver {
  return {
    started() {
      a.started?.();
      b.started?.();
    },
    ended(call) {
      a.ended(call);
      b.ended(call);
    },
  };
}

/** A port that is taken must not keep the node from running pods. */
async function openMetrics({ metrics }: Config, d: Deps, parts: AsyncDisposableStack): Promise<void> {
  if (metrics.address === undefined) return;
  try {
    const { url } = parts.use(await serveMetrics(metrics.address, () => d.metrics.text()));
    parts.use(d.metrics.followEventLoop());
    d.log.info({ url }, "serving metrics");
  } catch (error) {
    d.log.error({ address: metrics.address, err: error }, "metrics cannot be served; free the address, or set another metrics.address");
  }
}

function streamingServer({ streaming }: Config, log: Log): StreamingServer {
  const { address, port, tls_cert_file: certFile, tls_key_file: keyFile, idle_timeout: idleS, creation_timeout: creationS } = streaming;
  const tls = certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile };
  return new StreamingServer({ address, port, tls, idleTimeoutMs: idleS * 1000, creationTimeoutMs: creationS * 1000, log });
}

async function buildDeps(config: Config, paths: Paths, streaming: StreamingServer, log: Log, parts: AsyncDisposableStack): Promise<Deps> {
  const cgroups = detectCgroups();
  const facts = collectHostFacts(cgroups, config.cgroup_driver, await probeIdMaps(probeDir(paths), bundleDir(paths, "")));
  const host = { ...facts, appArmorDefaultProfile: facts.appArmorEnabled ? await loadDefaultAppArmor(findBinary("apparmor_parser"), log) : "" };
  const db = openOrSalvage(databasePath(paths), log);
  parts.defer(() => db.close());
  const pods = openStore(new RecordTable(db, "pods", readPodRecord, writePodRecord), "pod sandbox", log);
  const containers = openStore(new RecordTable(db, "containers", readContainerRecord, writeContainerRecord), "container", log);
  const layersInUse = () => containers.all().flatMap(layersOf);
  const { images, puller } = await openImages(config, db, layersInUse, log, parts);
  const metrics = new DaemonMetrics();
  const network = await openNetworks(config, log, metrics, parts);
  const ending = new AbortController();
  parts.defer(() => ending.abort());
  const runtimes = openRuntimes(config, paths, host, cgroups, log, ending.signal);
  await runtimes.refreshFacts();
  const containerHost = new LinuxContainerHost((id) => bundleDir(paths, id), (id) => containerDir(paths, id), cgroups);
  const podLock = new KeyedLock();
  const stats = openStats(paths, pods, containers, runtimes, cgroups, host, log, parts);
  const cleanupTimeoutMs = config.timeouts.cleanup * 1000;
  const nowNs = () => BigInt(Date.now()) * 1_000_000n;
  const exits = new ExitWatch({
    paths,
    containers,
    containerHost,
    runtimes,
    log,
    nowNs,
    onExit: (reason) => metrics.containerExited(reason),
    release: (id) => releaseContainer({ paths, containers, containerHost, podLock, runtimes, cleanupTimeoutMs }, id),
  });
  return {
    log,
    paths,
    host,
    bootId: bootId(),
    pods,
    containers,
    podLock,
    creations: new JoinedCalls(lingerMs, config.timeouts.create * 1000),
    stops: new JoinedCalls(lingerMs),
    takedowns: new JoinedCalls(lingerMs, config.timeouts.stop * 1000),
    podHost: new LinuxPodHost((id) => podDir(paths, id), cgroups),
    containerHost,
    runtimes,
    exits,
    metrics,
    operations: await openOperations(config, metrics, nowNs, log, parts),
    stats,
    events: new Events({ pods, containers, nowNs, onDropped: (count) => metrics.dropped("events", count) }),
    network,
    images,
    puller,
    streaming,
    pinnedImages: new Set(config.images.pinned.map((name) => formatReference(parseReference(name)))),
    mountPolicy: { createMissingSources: config.containers.create_missing_mount_sources, imageVolumes: config.containers.image_volumes },
    podPolicy: {
      shm: { defaultBytes: config.pods.shm_size_bytes, annotationIsAllowed: config.pods.shm_size_annotation },
      sysctls: { unprivilegedPorts: config.pods.unprivileged_ports, unprivilegedPing: config.pods.unprivileged_ping },
    },
    containerPolicy: containerPolicyOf(config, host.capabilities),
    cdi: new CdiSpecDirs(config.cdi.spec_dirs),
    createTimeoutMs: config.timeouts.create * 1000,
    cleanupTimeoutMs,
    newId: () => randomBytes(32).toString("hex"),
    nowNs,
  };
}

function openStats(paths: Paths, pods: RecordStore<PodRecord>, containers: RecordStore<ContainerRecord>, runtimes: Runtimes, cgroups: CgroupLayout, host: HostFacts, log: Log, parts: AsyncDisposableStack): StatsCollector {
  const source = new LinuxUsageSource(cgroups, host.hugepageSizes);
  const stats = new StatsCollector({ log, paths, pods, containers, source, runtimeOf: (c) => askRuntimeOf({ paths, runtimes }, c), machine: machineOf(source, containersDir(paths)), available: availableOn(cgroups), periodMs: samplePeriodMs });
  parts.defer(() => stats.close());
  stats.start();
  return stats;
}

/** OpenTelemetry is not even loaded when nobody asked for it. */
async function openOperations({ tracing }: Config, metrics: DaemonMetrics, nowNs: () => bigint, log: Log, parts: AsyncDisposableStack): Promise<Operations> {
  const { endpoint } = tracing;
  const onDropped = (count: number) => metrics.dropped("spans", count);
  const exporter = endpoint === undefined ? undefined : parts.use(new (await import("./trace/otlp.ts")).OtlpExporter({ endpoint, version, log, onDropped }));
  return new Operations({
    nowNs,
    nowMs: () => performance.now(),
    onEnd(operation, context) {
      metrics.operationEnded(operation);
      exporter?.add(operation, context);
    },
  });
}

async function openNetworks(config: Config, log: Log, metrics: DaemonMetrics, parts: AsyncDisposableStack): Promise<PodNetworks> {
  const { conf_dir: confDir, bin_dirs: binDirs, cache_dir = join(config.root, "cni") } = config.cni;
  const exec = createPluginExec(process.env);
  const otherConfDirs = [...new Set(Object.values(config.runtimes).flatMap((handler) => handler.cni_conf_dir ?? []))];
  const network = new PodNetworks({ log, confDir, otherConfDirs, binDirs, cacheDir: cache_dir, exec, cleanupTimeoutMs: config.timeouts.cleanup * 1000, onForgotten: () => metrics.dropped("detached_pods") });
  parts.defer(() => network.close());
  await network.start();
  return network;
}

function openStore<R extends { readonly id: string; readonly name: string }>(table: RecordTable<R>, kind: string, log: Log): RecordStore<R> {
  const { records, damaged } = table.readAll();
  for (const row of damaged) {
    log.error({ kind, id: row.id, err: row.error }, `the record of a ${kind} cannot be read: what there is of it is taken down, the record is kept in the table \`damaged\``);
    table.setAside(row);
  }
  return new RecordStore(table, kind, records.values());
}
