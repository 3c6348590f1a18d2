import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { setImmediate as turn } from "node:timers/promises";
import { JoinedCalls } from "@keelson/base/joined-calls.ts";
import { KeyedLock } from "@keelson/base/keyed-lock.ts";
import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { ContainerConfig, ListContainersRequest, ListPodSandboxRequest, PodSandboxConfig, UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fromJson } from "@keelson/cri/json.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { CdiSpecDirs } from "../cdi/spec-dirs.ts";
import type { CommandProblem } from "../container/command-problem.ts";
import type { ContainerHost } from "../container/container-host.ts";
import { ExitWatch } from "../container/exit-watch.ts";
import { HostPaths } from "../container/host-paths.ts";
import type { OomReport } from "../container/out-of-memory.ts";
import { type ContainerRecord, readContainerRecord, writeContainerRecord } from "../container/record.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import { releaseContainer } from "../container/teardown.ts";
import type { Deps } from "../deps.ts";
import type { LayerStore } from "../image/layer-store.ts";
import type { ImageRecord } from "../image/record.ts";
import { DaemonMetrics } from "../metrics/daemon-metrics.ts";
import { Events } from "../events.ts";
import { everything, fakeMachine, FakeUsage } from "../stats/fake-usage.ts";
import { Operations } from "../trace/operations.ts";
import { StatsCollector } from "../stats/collector.ts";
import { bundleDir, containerDir, containersDir, podDir } from "../paths.ts";
import { planContainerCgroup } from "../plan/cgroup-path.ts";
import { hostFrom } from "../plan/plan-fixture.ts";
import { defaultPodPolicy, type PodPlan } from "../plan/pod-plan.ts";
import type { LimitFile } from "../plan/resource-update.ts";
import type { PodHost } from "../pod/pod-host.ts";
import { readPodRecord, writePodRecord } from "../pod/record.ts";
import type { ProcessIdentity } from "../pod/state.ts";
import { RecordStore } from "../record-store.ts";
import { openDatabase, RecordTable } from "../record-table.ts";
import type { ExitReport, Runtime } from "../runtime/runtime.ts";
import { Runtimes } from "../runtime/runtimes.ts";
import { containerStatus } from "./container-status.ts";
import { createContainer } from "./create-container.ts";
import { listContainers } from "./list-containers.ts";
import { listPodSandbox } from "./list-pod-sandbox.ts";
import { podSandboxStatus } from "./pod-sandbox-status.ts";
import { removeContainer } from "./remove-container.ts";
import { removePodSandbox } from "./remove-pod-sandbox.ts";
import { runPodSandbox } from "./run-pod-sandbox.ts";
import { startContainer } from "./start-container.ts";
import { stopContainer } from "./stop-container.ts";
import { stopPodSandbox } from "./stop-pod-sandbox.ts";
import { updateContainerResources } from "./update-container-resources.ts";
import { updatePodSandboxResources } from "./update-pod-sandbox-resources.ts";

/**
 * What becomes of an effect: it works, fails without having done anything, is done and then fails,
 * or hangs until it is aborted or let go.
 */
export type Fate = "works" | "fails" | "done and fails" | "hangs";

/** What a fault throws: no StatusError, as what the kernel throws is none either. */
export class InjectedFault extends Error {
  constructor(effect: string) {
    super(`injected fault in ${effect}`);
    this.name = "InjectedFault";
  }
}

/** Beyond the kernel's largest pid (2^22), so that a real look-up finds none of them. */
const firstPid = 5_000_000;

interface FakeProcess {
  readonly pid: number;
  readonly kind: "init" | "main" | "monitor";
  /** Of a pod for an init, of a container for the others. */
  readonly ownerId: string;
  /** Of monitors: "". */
  readonly cgroup: string;
  isStarted: boolean;
}

const noSignal = new AbortController().signal;

/** A pod's config, over a complete one; JSON names as in the CRI. */
export function podConfig(over: object = {}): PodSandboxConfig {
  const json = { metadata: { name: "web", namespace: "default", uid: "u1", attempt: 0 }, hostname: "web", log_directory: "/var/log/pods/web", ...over };
  return PodSandboxConfig.fromPartial(fromJson("PodSandboxConfig", json));
}

/** A container's config, over a complete one. */
export function containerConfig(over: object = {}): ContainerConfig {
  return ContainerConfig.fromPartial(fromJson("ContainerConfig", { metadata: { name: "app", attempt: 0 }, image: { image: "busybox" }, log_path: "app.log", ...over }));
}

/**
 * A machine in memory with everything that the calls work on, for tests. It keeps a model of what exists, so that
 * "nothing is left behind" is `left()` being empty; only the pods' and containers' directories are real, below a
 * temporary one. Each effect, also each write of the database, asks `fate` what becomes of it.
 */
export class FakeNode implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "keelson-fake-"));
  readonly paths = { root: join(this.dir, "root"), state: join(this.dir, "state") };
  readonly db: DatabaseSync = openDatabase(":memory:");
  /** What stats are made of. */
  readonly usage = new FakeUsage();
  /** What the daemon logged as warning or error. */
  readonly logged: string[] = [];
  /** Broken promises between the parts, such as a pod taken down under running containers. */
  readonly violations: string[] = [];
  /** Names of the effects since the last `effects.length = 0`. */
  readonly effects: string[] = [];
  /** Decides on each effect by its name and its number, from 0, in `effects`. */
  fate: (effect: string, index: number) => Fate = () => "works";
  /** How many turns of the event loop an effect takes before it is done. */
  turns: () => number = () => 0;
  /** Does a started process end by this signal? SIGKILL is not asked about. */
  endsBy: (containerId: string, signal: number) => boolean = () => true;
  /** The exit code of processes that end right when they are started. */
  exitsAtOnce: number | undefined;
  /** Nothing can be killed, as in uninterruptible sleep. */
  isUnkillable = false;
  oomKilled = false;
  /** What is wrong with every container's command. */
  commandProblem: CommandProblem | undefined;
  oomReport: OomReport | undefined;
  /** Bytes, of every container. */
  memoryInUse: number | undefined;
  /** Monitors are stopped: they note no end and do not end either. */
  exitsUnnoticed = false;
  networkReady = true;
  /** Handlers that the configuration of the next start has not. */
  readonly missingHandlers = new Set<string>();
  bootId = "boot-1";
  /** The deps of the daemon that runs now. */
  deps: Deps;

  /** `netns ID`, `rootfs ID`, … */
  readonly things = new Set<string>();
  readonly processes = new Map<number, FakeProcess>();
  readonly cgroups = new Set<string>();
  /** Pod id → address. */
  readonly attachments = new Map<string, string>();
  /** Container id → what its runtime knows. */
  readonly runtimeStates = new Map<string, { handler: string; main: number; monitor: number }>();
  readonly exitReports = new Map<string, ExitReport>();
  /** Container id → what its runtime was last told to limit it to. */
  readonly limits = new Map<string, ResourcesSpec>();
  readonly limitFiles = new Map<string, readonly LimitFile[]>();
  readonly oomScores = new Map<string, number>();
  readonly images = new Map<string, ImageRecord>();
  readonly #processSpecs = new Map<string, ProcessSpec>();
  readonly #endListeners = new Map<number, () => void>();
  readonly #hanging = new Set<() => void>();
  /** How often the daemon was started. */
  lives = 0;
  #ids = 0;
  #pids = firstPid;
  #addresses = 0;
  #clockNs = 1_700_000_000_000_000_000n;

  constructor() {
    for (const dir of [podDir(this.paths, ""), bundleDir(this.paths, ""), containersDir(this.paths)]) mkdirSync(dir, { recursive: true });
    this.addImage("busybox");
    this.deps = this.#newDeps();
  }

  [Symbol.dispose](): void {
    this.db.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** The daemon is killed and started again, perhaps with the machine. What it had in memory is gone; recovery has not run. */
  restart(options: { bootId?: string } = {}): Deps {
    if (options.bootId !== undefined && options.bootId !== this.bootId) this.#reboot(options.bootId);
    this.#endListeners.clear();
    this.lives += 1;
    this.deps = this.#newDeps();
    return this.deps;
  }

  /** Everything there is beside images, records too; sorted. */
  left(): string[] {
    const rows = (["pods", "containers"] as const).flatMap((table) => this.db.prepare(`SELECT id FROM ${table}`).all().map((row) => `record in ${table}: ${String(row["id"])}`));
    const dirs = [podDir(this.paths, ""), bundleDir(this.paths, ""), containersDir(this.paths)].flatMap((dir) => readdirSync(dir).map((name) => `directory ${join(dir, name).slice(this.dir.length)}`));
    return [
      ...rows,
      ...dirs,
      ...this.things,
      ...[...this.processes.values()].map((p) => `process ${p.kind} of ${p.ownerId}`),
      ...[...this.cgroups].map((path) => `cgroup ${path}`),
      ...[...this.attachments.keys()].map((id) => `attachment of ${id}`),
      ...[...this.runtimeStates.keys()].map((id) => `runtime's state of ${id}`),
      ...[...this.exitReports.keys()].map((id) => `exit file of ${id}`),
    ].sort();
  }

  /** The processes of a kind that run. */
  running(kind: FakeProcess["kind"]): string[] {
    return [...this.processes.values()].filter((p) => p.kind === kind).map((p) => p.ownerId);
  }

  addImage(name: string, over: Partial<ImageRecord> = {}, volumes: string[] = []): void {
    const config = { os: "linux", architecture: "amd64", variant: "", created: "", user: "", env: [], entrypoint: [], cmd: ["/bin/sh"], workingDir: "", stopSignal: "", labels: {}, volumes, exposedPorts: [], diffIds: [] };
    this.images.set(name, { id: `sha256:${"1".repeat(64)}`, repoTags: [name], repoDigests: [], manifestDigest: "", layers: ["layer"], sizeBytes: 1, pulledAtMs: 0, config, ...over });
  }

  /** Lets everything go that hangs. */
  release(): void {
    for (const go of this.#hanging) go();
  }

  /** Somebody sets the machine's clock. */
  jumpClock(seconds: number): void {
    this.#clockNs += BigInt(seconds) * 1_000_000_000n;
  }

  /** The first process of a container ends by itself. */
  exit(containerId: string, exitCode: number): void {
    const main = [...this.processes.values()].find((p) => p.kind === "main" && p.ownerId === containerId);
    if (main !== undefined) this.#end(main, exitCode);
  }

  /** Somebody kills a container's monitor: nobody writes down its exit, and its process loses its streams. */
  killMonitor(containerId: string): void {
    for (const p of this.processes.values()) if (p.kind === "monitor" && p.ownerId === containerId) this.#gone(p);
  }

  /** The init of a pod dies, and with it every process of the pod's PID namespace. */
  killInit(podId: string): void {
    const init = [...this.processes.values()].find((p) => p.kind === "init" && p.ownerId === podId);
    if (init === undefined) return;
    this.#gone(init);
    for (const p of [...this.processes.values()].filter((p) => p.kind === "main" && this.#podOf(p.ownerId) === podId)) this.#end(p, 137);
  }

  /** Resolves when no effect is under way and what was noted is noted. */
  async quiet(): Promise<void> {
    for (let i = 0; i < 20; i += 1) await turn();
  }

  #reboot(bootId: string): void {
    this.bootId = bootId;
    for (const set of [this.things, this.processes, this.cgroups, this.runtimeStates, this.exitReports]) set.clear();
    for (const dir of [podDir(this.paths, ""), bundleDir(this.paths, "")]) {
      rmSync(dir, { recursive: true });
      mkdirSync(dir, { recursive: true });
    }
  }

  #newDeps(): Deps {
    const { paths } = this;
    const nowNs = () => (this.#clockNs += 1_000_000n);
    const log: Log = {
      debug: () => {},
      info: () => {},
      warn: (fields, text) => this.#note(fields, text),
      error: (fields, text) => this.#note(fields, text),
    };
    const pods = this.#openStore(new FaultyTable(this, "pods", readPodRecord, writePodRecord), "pod sandbox");
    const containers = this.#openStore(new FaultyTable(this, "containers", readContainerRecord, writeContainerRecord), "container");
    const handlers = ["crun", "runc"].filter((name) => !this.missingHandlers.has(name)).map((name) => {
      const facts = { name, recursiveReadOnlyMounts: false };
      return { name, path: `/usr/bin/${name}`, facts, runtime: this.#newRuntime(name), privilegedDevices: "all" as const };
    });
    const runtimes = new Runtimes(handlers, new Map(), "crun");
    const containerHost = this.#newContainerHost();
    const podLock = new KeyedLock();
    const cleanupTimeoutMs = 60_000;
    const release = (id: string) => releaseContainer({ containers, podLock, runtimes, cleanupTimeoutMs }, id);
    const metrics = new DaemonMetrics();
    const exitOf = (c: ContainerRecord) => runtimes.handlerOf(c.handler).runtime.exitOf(runtimeContainerOf({ paths }, c));
    return {
      log,
      paths,
      host: hostFrom(),
      bootId: this.bootId,
      pods,
      containers,
      podLock,
      creations: new JoinedCalls(60_000),
      stops: new JoinedCalls(60_000),
      takedowns: new JoinedCalls(60_000),
      podHost: this.#newPodHost(),
      containerHost,
      runtimes,
      exits: new ExitWatch({ containers, containerHost, log, exitOf, release, onExit: (reason) => metrics.containerExited(reason), nowNs }),
      network: this.#newNetwork(),
      images: this.#newImages(),
      metrics,
      operations: new Operations({ nowNs, nowMs: () => performance.now(), onEnd: (operation) => metrics.operationEnded(operation) }),
      stats: new StatsCollector({ log, paths, pods, containers, source: this.usage, machine: fakeMachine(this.usage), available: everything, periodMs: 10_000 }),
      events: new Events({ pods, containers, nowNs, onDropped: (count) => metrics.dropped("events", count) }),
      puller: { pull: () => Promise.reject(new StatusError(Code.Unavailable, "this machine has no registry")), pullsInProgress: () => [], receivedBytes: 0 },
      pinnedImages: new Set(),
      containerPolicy: { defaults: { pidsLimit: 0, rlimits: [] }, deviceOwnershipFromSecurityContext: false, classFiles: { blockIo: join(this.dir, "blockio.yaml"), rdt: join(this.dir, "rdt.yaml") } },
      cdi: new CdiSpecDirs([join(this.dir, "cdi")]),
      mountPolicy: { createMissingSources: false, imageVolumes: "bind" },
      podPolicy: defaultPodPolicy,
      createTimeoutMs: 240_000,
      cleanupTimeoutMs,
      newId: () => (this.#ids += 1).toString(16).padStart(8, "0").padEnd(64, "0"),
      nowNs,
    };
  }

  #note(fields: object, text: string): void {
    const error = "err" in fields ? `: ${messageOf(fields.err)}` : "";
    this.logged.push(text + error);
  }

  #openStore<R extends { readonly id: string; readonly name: string }>(table: RecordTable<R>, kind: string): RecordStore<R> {
    return new RecordStore(table, kind, table.readAll().records.values());
  }

  /** @internal For the fakes: an effect that is done within the call. One that should hang fails instead. */
  now<T>(effect: string, apply: () => T): T {
    const fate = this.#decide(effect);
    if (fate === "fails" || fate === "hangs") throw new InjectedFault(effect);
    const result = apply();
    if (fate === "done and fails") throw new InjectedFault(effect);
    return result;
  }

  #decide(effect: string): Fate {
    this.effects.push(effect);
    const fate = this.fate(effect, this.effects.length - 1);
    // SQLite has no half of a write.
    return fate === "done and fails" && effect.startsWith("database") ? "fails" : fate;
  }

  async #effect<T>(effect: string, apply: () => T, signal: AbortSignal = noSignal): Promise<T> {
    const fate = this.#decide(effect);
    for (let left = this.turns(); left > 0; left -= 1) await turn();
    signal.throwIfAborted();
    if (fate === "fails") throw new InjectedFault(effect);
    if (fate === "hangs") await this.#hang(signal);
    const result = apply();
    if (fate === "done and fails") throw new InjectedFault(effect);
    return result;
  }

  #hang(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        this.#hanging.delete(go);
        signal.removeEventListener("abort", abort);
        resolve();
      };
      const abort = () => {
        this.#hanging.delete(go);
        reject(signal.reason as Error);
      };
      this.#hanging.add(go);
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  #start(kind: FakeProcess["kind"], ownerId: string, cgroup: string): ProcessIdentity {
    const pid = (this.#pids += 1);
    this.processes.set(pid, { pid, kind, ownerId, cgroup, isStarted: kind !== "main" });
    return { pid, startTicks: pid };
  }

  /** A main process ends; its monitor writes that down and ends too. */
  #end(process: FakeProcess, exitCode: number): void {
    if (!this.processes.has(process.pid)) return;
    this.#gone(process);
    if (process.kind !== "main") return;
    const monitor = [...this.processes.values()].find((p) => p.kind === "monitor" && p.ownerId === process.ownerId);
    if (monitor === undefined || this.exitsUnnoticed) return;
    this.exitReports.set(process.ownerId, { exitCode, finishedAtNs: (this.#clockNs += 1_000_000n), oomKilled: this.oomKilled });
    this.#gone(monitor);
  }

  #gone(process: FakeProcess): void {
    this.processes.delete(process.pid);
    const ended = this.#endListeners.get(process.pid);
    if (ended !== undefined) setImmediate(ended);
  }

  /** As a pidfd does: once, later, also for a process that is gone already. */
  #watch(pid: number, onEnd: () => void): Disposable {
    const ended = () => {
      if (this.#endListeners.get(pid) !== ended) return;
      this.#endListeners.delete(pid);
      onEnd();
    };
    this.#endListeners.set(pid, ended);
    if (!this.processes.has(pid)) setImmediate(ended);
    return {
      [Symbol.dispose]: () => {
        if (this.#endListeners.get(pid) === ended) this.#endListeners.delete(pid);
      },
    };
  }

  #killIn(cgroup: string): void {
    for (const p of [...this.processes.values()].filter((p) => p.cgroup === cgroup)) {
      if (this.isUnkillable) throw new Error(`kill cgroup ${cgroup}: process ${p.pid} is still there after 5000 ms (EBUSY)`);
      this.#end(p, 137);
    }
  }

  /** rmdir(2) of a cgroup with all below it: those with processes stay. */
  #removeCgroup(path: string): void {
    const below = (other: string) => other === path || other.startsWith(`${path}/`);
    const busy = [...this.processes.values()].find((p) => below(p.cgroup));
    if (busy !== undefined) throw new Error(`rmdir ${path}: EBUSY, process ${busy.kind} of ${busy.ownerId}`);
    for (const cgroup of this.cgroups) if (below(cgroup)) this.cgroups.delete(cgroup);
  }

  #newPodHost(): PodHost {
    const initCgroup = (plan: PodPlan) => planContainerCgroup(plan.cgroup, `init-${plan.id}`).path;
    const remove = (id: string) => {
      for (const kind of ["netns", "ipcns", "utsns", "pidns", "shm", "hosts"]) this.things.delete(`${kind} ${id}`);
      rmSync(podDir(this.paths, id), { recursive: true, force: true });
    };
    return {
      create: (plan) =>
        this.#effect("pod-host create", () => {
          mkdirSync(podDir(this.paths, plan.id), { recursive: true });
          if (plan.network === "own") this.things.add(`netns ${plan.id}`);
          if (plan.ipc === "own") this.things.add(`ipcns ${plan.id}`).add(`shm ${plan.id}`);
          if (plan.uts === "own") this.things.add(`utsns ${plan.id}`);
        }),
      startInit: (plan) =>
        this.#effect("pod-host start-init", () => {
          this.#addCgroup(initCgroup(plan), plan);
          this.things.add(`pidns ${plan.id}`);
          return this.#start("init", plan.id, initCgroup(plan));
        }),
      writeHosts: (plan) => this.#effect("pod-host write-hosts", () => void this.things.add(`hosts ${plan.id}`)),
      watch: (init, onEnd) => this.now("pod-host watch", () => this.#watch(init.pid, onEnd)),
      isIntact: (plan, init) => this.now("pod-host is-intact", () => (init === undefined || this.processes.has(init.pid)) && (plan.network === "host" || this.things.has(`netns ${plan.id}`))),
      destroy: (plan, _init, signal) =>
        this.#effect(
          "pod-host destroy",
          () => {
            for (const p of this.processes.values()) {
              if (p.kind === "main" && this.#podOf(p.ownerId) === plan.id) this.violations.push(`pod ${plan.id} was taken down under container ${p.ownerId}`);
            }
            this.#killIn(initCgroup(plan));
            remove(plan.id);
            this.#removeCgroup(initCgroup(plan));
            if (plan.cgroup.own) this.#removeCgroup(plan.cgroup.path);
          },
          signal,
        ),
      destroyUnknown: (id) =>
        this.#effect("pod-host destroy-unknown", () => {
          for (const p of this.processes.values()) if (p.kind === "init" && p.ownerId === id) this.#killIn(p.cgroup);
          remove(id);
        }),
    };
  }

  #podOf(containerId: string): string | undefined {
    return this.deps.containers.get(containerId)?.podId;
  }

  #addCgroup(path: string, plan: PodPlan): void {
    this.cgroups.add(path);
    if (plan.cgroup.own) this.cgroups.add(plan.cgroup.path);
  }

  #newContainerHost(): ContainerHost {
    const remove = (id: string) => {
      for (const thing of this.things) if (thing === `rootfs ${id}` || thing.endsWith(` of ${id}`)) this.things.delete(thing);
      rmSync(bundleDir(this.paths, id), { recursive: true, force: true });
      rmSync(containerDir(this.paths, id), { recursive: true, force: true });
    };
    const hostPaths = new HostPaths();
    return {
      resolveHostPaths: (paths, makeMissing, signal) => hostPaths.resolve(paths, makeMissing, signal),
      mountRootfs: (id) =>
        this.#effect("container-host mount-rootfs", () => {
          const rootfs = join(bundleDir(this.paths, id), "rootfs");
          mkdirSync(rootfs, { recursive: true });
          mkdirSync(containerDir(this.paths, id), { recursive: true });
          this.things.add(`rootfs ${id}`);
          return rootfs;
        }),
      mountImage: (id, name) =>
        this.#effect("container-host mount-image", () => {
          const path = join(bundleDir(this.paths, id), "images", name);
          mkdirSync(path, { recursive: true });
          this.things.add(`image ${name} of ${id}`);
          return path;
        }),
      makeVolume: (id, name, _content, signal) =>
        this.#effect(
          "container-host make-volume",
          () => {
            const path = join(containerDir(this.paths, id), "volumes", name);
            mkdirSync(path, { recursive: true });
            return path;
          },
          signal,
        ),
      writeProcess: (id, process) => this.now("container-host write-process", () => void this.#processSpecs.set(id, process)),
      readProcess: (id) => this.#processSpecs.get(id)!,
      readSpec: (id) => {
        const process = this.#processSpecs.get(id);
        return process === undefined ? undefined : { ociVersion: "1.0.2", process };
      },
      commandProblem: () => this.commandProblem,
      relabel: (paths, label) => this.#effect(`label ${paths.length} paths ${label}`, () => {}),
      isAlive: (process) => this.processes.has(process.pid),
      watch: (process, onEnd) => this.now("container-host watch", () => this.#watch(process.pid, onEnd)),
      signal: (main, signal) => this.now("container-host signal", () => this.#signal(main.pid, signal)),
      thaw: () => this.now("container-host thaw", () => {}),
      memoryInUse: () => this.memoryInUse,
      writeLimits: (cgroup, files) => this.now("container-host write-limits", () => void this.limitFiles.set(cgroup, files)),
      setOomScoreAdj: (cgroup, _earlier, score) => this.now("container-host set-oom-score-adj", () => void this.oomScores.set(basename(cgroup), score)),
      outOfMemory: () => this.oomReport,
      kill: (cgroup, signal) => this.#effect("container-host kill", () => this.#killIn(cgroup), signal),
      destroy: (id, cgroup, signal) =>
        this.#effect(
          "container-host destroy",
          () => {
            remove(id);
            this.#removeCgroup(cgroup);
          },
          signal,
        ),
      destroyUnknown: (id) => this.#effect("container-host destroy-unknown", () => remove(id)),
    };
  }

  #signal(pid: number, signal: number): boolean {
    const process = this.processes.get(pid);
    if (process === undefined) return false;
    if (this.isUnkillable) return true;
    // A process that was not started yet is the runtime's own, which heeds SIGKILL only.
    if (signal === 9 || (process.isStarted && this.endsBy(process.ownerId, signal))) this.#end(process, 128 + signal);
    return true;
  }

  #newRuntime(handler: string): Runtime {
    return {
      create: (container, spec, signal) =>
        this.#effect(
          "runtime create",
          () => {
            if (this.runtimeStates.has(container.id)) throw new Error(`container ${container.id} exists already`);
            this.#checkNetwork(spec);
            const cgroup = this.#cgroupOf(spec);
            const main = this.#start("main", container.id, cgroup);
            const monitor = this.#start("monitor", container.id, "");
            this.runtimeStates.set(container.id, { handler, main: main.pid, monitor: monitor.pid });
            return { main, monitor };
          },
          signal,
        ),
      start: (id, signal) =>
        this.#effect(
          "runtime start",
          () => {
            const main = this.processes.get(this.runtimeStates.get(id)?.main ?? 0);
            if (main === undefined || main.isStarted) throw new Error(`cannot start container ${id}: it is not created`);
            main.isStarted = true;
            if (this.exitsAtOnce !== undefined) this.#end(main, this.exitsAtOnce);
          },
          signal,
        ),
      update: ({ id }, resources, signal) => this.#effect("runtime update", () => void this.limits.set(id, structuredClone(resources)), signal),
      exec: (_container, process, signal) => this.#effect("runtime exec", () => ({ exitCode: 0, stdout: Buffer.from(process.args!.join(" ")), stderr: Buffer.alloc(0), truncated: false }), signal),
      endExecs: () => this.now("runtime end-execs", () => {}),
      reopenLog: (_container, _monitor, signal) => this.#effect("runtime reopen-log", () => {}, signal),
      delete: (id, signal) =>
        this.#effect(
          "runtime delete",
          () => {
            const state = this.runtimeStates.get(id);
            const main = this.processes.get(state?.main ?? 0);
            if (main !== undefined) this.#end(main, 137);
            this.runtimeStates.delete(id);
            this.exitReports.delete(id);
          },
          signal,
        ),
      exitOf: ({ id }) => this.exitReports.get(id),
      view: (id, signal) =>
        this.#effect(
          "runtime view",
          () => {
            const state = this.runtimeStates.get(id);
            if (state === undefined) return undefined;
            const main = this.processes.get(state.main);
            return main === undefined ? "stopped" : main.isStarted ? "running" : "created";
          },
          signal,
        ),
    };
  }

  /** A runtime fails without the namespaces it is told to join; a pod's network is the daemon's business. */
  #checkNetwork(spec: Spec): void {
    const netns = spec.linux?.namespaces?.find((n) => n.type === "network")?.path;
    if (netns === undefined) return;
    const podId = basename(dirname(netns));
    if (!this.things.has(`netns ${podId}`)) throw new InjectedFault(`pod ${podId}: its network namespace is gone`);
    if (!this.attachments.has(podId)) this.violations.push(`a container was created in pod ${podId}, which has no network`);
  }

  #cgroupOf(spec: Spec): string {
    const path = spec.linux?.cgroupsPath ?? "";
    this.cgroups.add(path);
    const own = /^\/keelson-[^/]+/.exec(path)?.[0];
    if (own !== undefined) this.cgroups.add(own);
    return path;
  }

  #newNetwork(): Deps["network"] {
    return {
      attach: (pod, signal, stage) => {
        stage?.("attach to network podnet: plugin bridge: ADD");
        return this.#effect(
          "network attach",
          () => {
            if (!this.things.has(`netns ${pod.id}`)) this.violations.push(`pod ${pod.id} was attached without its namespace`);
            const ip = `10.0.0.${(this.#addresses += 1)}`;
            this.attachments.set(pod.id, ip);
            return { ips: [ip], result: {} as never };
          },
          signal,
        );
      },
      detach: (pod, signal) => this.#effect("network detach", () => void this.attachments.delete(pod.id), signal),
      status: () => (this.networkReady ? { ready: true, reason: "", message: "" } : { ready: false, reason: "NetworkPluginNotReady", message: "there is no network" }),
      collectGarbage: (podIds, signal) =>
        this.#effect(
          "network collect-garbage",
          () => {
            for (const id of this.attachments.keys()) if (!podIds.has(id)) this.attachments.delete(id);
          },
          signal,
        ),
      updateRuntimeConfig: () => {},
    };
  }

  #newImages(): Deps["images"] {
    return {
      find: (name) => this.images.get(name) ?? [...this.images.values()].find((image) => image.id === name),
      list: () => [...this.images.values()],
      lowerDirectories: () => this.now("images lower-directories", () => ["/layers/1"]),
      collectGarbage: () => this.now("images collect-garbage", () => {}),
      remove: (name) => void this.images.delete(name),
      layers: { usage: { bytes: 0, inodes: 0 }, directory: join(this.paths.root, "layers") } as unknown as LayerStore,
    };
  }
}

/** What a client sends, with defaults; each call works on the daemon that runs then. */
export function clientOf(node: FakeNode, signal: AbortSignal = noSignal) {
  return {
    runPod: async (config: object = {}, runtimeHandler = "") => (await runPodSandbox(node.deps, { config: podConfig(config), runtimeHandler }, signal)).podSandboxId,
    createContainer: async (podSandboxId: string, config: object = {}) =>
      (await createContainer(node.deps, { podSandboxId, config: containerConfig(config), sandboxConfig: undefined }, signal)).containerId,
    startContainer: (containerId: string) => startContainer(node.deps, { containerId }, signal),
    stopContainer: (containerId: string, timeout = 0n) => stopContainer(node.deps, { containerId, timeout }, signal),
    removeContainer: (containerId: string) => removeContainer(node.deps, { containerId }, signal),
    updateContainer: (containerId: string, resources: object) =>
      updateContainerResources(node.deps, UpdateContainerResourcesRequest.fromPartial(fromJson("UpdateContainerResourcesRequest", { container_id: containerId, linux: resources })), signal),
    updatePod: (podSandboxId: string, update: object) =>
      updatePodSandboxResources(node.deps, UpdatePodSandboxResourcesRequest.fromPartial(fromJson("UpdatePodSandboxResourcesRequest", { pod_sandbox_id: podSandboxId, ...update })), signal),
    stopPod: (podSandboxId: string) => stopPodSandbox(node.deps, { podSandboxId }, signal),
    removePod: (podSandboxId: string) => removePodSandbox(node.deps, { podSandboxId }, signal),
    listPods: async (filter: object = {}) => (await listPodSandbox(node.deps, ListPodSandboxRequest.fromPartial({ filter }))).items,
    listContainers: async (filter: object = {}) => (await listContainers(node.deps, ListContainersRequest.fromPartial({ filter }))).containers,
    podStatus: async (podSandboxId: string) => (await podSandboxStatus(node.deps, { podSandboxId, verbose: true })).status!,
    containerStatus: async (containerId: string) => (await containerStatus(node.deps, { containerId, verbose: true })).status!,
  };
}

export type Client = ReturnType<typeof clientOf>;

/** Stops the clock for setTimeout and AbortSignal.timeout, which @types/node does not know yet. */
export function mockTime({ timers }: { timers: { enable(options: { apis: "setTimeout"[] }): void } }): void {
  timers.enable({ apis: ["setTimeout", "AbortSignal.timeout" as "setTimeout"] });
}

/**
 * Waits for a call while time goes by in steps of a second, so that what retries or times out does so at once. Needs
 * `mockTime`. Throws when an hour is not enough.
 */
export async function passTime<T>(timers: { tick(ms: number): void }, call: Promise<T>): Promise<T> {
  const state = { isDone: false };
  const done = () => (state.isDone = true);
  call.then(done, done);
  for (let seconds = 0; seconds < 3600; seconds += 1) {
    for (let i = 0; i < 10 && !state.isDone; i += 1) await turn();
    if (state.isDone) return call;
    timers.tick(1000);
  }
  throw new Error("the call hangs");
}

/** Writes of the database are effects too: the disk may be full. */
class FaultyTable<T> extends RecordTable<T> {
  readonly #node: FakeNode;
  readonly #table: string;
  readonly #life: number;

  constructor(node: FakeNode, table: "pods" | "containers", parse: (value: unknown) => T, format: (record: T) => unknown) {
    super(node.db, table, parse, format);
    this.#node = node;
    this.#table = table;
    this.#life = node.lives;
  }

  override put(id: string, record: T): void {
    this.#checkAlive();
    this.#node.now(`database put ${this.#table}`, () => super.put(id, record));
  }

  override delete(id: string): void {
    this.#checkAlive();
    this.#node.now(`database delete ${this.#table}`, () => super.delete(id));
  }

  /** What a killed daemon had under way goes on in this process, but must not write. */
  #checkAlive(): void {
    if (this.#life !== this.#node.lives) throw new InjectedFault("a daemon that was killed");
  }
}
