import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { ImageRecord } from "@keelson/images/record.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { defaultPodPolicy } from "@keelson/plan/pod-plan.ts";
import type { LimitFile } from "@keelson/plan/resource-update.ts";
import { hostFrom } from "@keelson/plan/testing/plan-fixture.ts";
import { defaultHandlerSettings } from "@keelson/runtimes/handler-settings.ts";
import { Runtimes } from "@keelson/runtimes/runtimes.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { CdiSpecDirs } from "../cdi/spec-dirs.ts";
import type { Deps } from "../deps.ts";
import { joinParts } from "../join-parts.ts";
import type { CommandProblem } from "../machine/command-problem.ts";
import type { OomReport } from "../machine/out-of-memory.ts";
import { readContainerRecord, writeContainerRecord } from "../records/container-record.ts";
import { openRecords } from "../records/open-records.ts";
import { bundleDir, containersDir, podDir } from "../records/paths.ts";
import { readPodRecord, writePodRecord } from "../records/pod-record.ts";
import { noTally, type Tally } from "../tally.ts";
import { fakeContainerHost } from "./fake-container-host.ts";
import { fakeImages } from "./fake-images.ts";
import { FakeMachine } from "./fake-machine.ts";
import { fakeNetwork } from "./fake-network.ts";
import { fakePodHost } from "./fake-pod-host.ts";
import { fakeRuntime } from "./fake-runtime.ts";
import { everything, fakeMachine, FakeUsage } from "./fake-usage.ts";
import { FaultyTable } from "./faulty-table.ts";

/**
 * A machine in memory with everything that the calls work on, for tests. It models what exists, so that nothing is left
 * behind when `left()` is empty; only the directories of pods and containers are real, in a temporary one. For each
 * effect, and each write to the database, `fate` decides what happens.
 */
export class FakeNode extends FakeMachine implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "keelson-fake-"));
  readonly paths = { root: join(this.dir, "root"), state: join(this.dir, "state") };
  readonly db: DatabaseSync = openDatabase(":memory:");
  /** What stats are computed from. */
  readonly usage = new FakeUsage();
  /** What the daemon logged as warning or error. */
  readonly logged: string[] = [];
  /** What is wrong with the command of every container. */
  commandProblem: CommandProblem | undefined;
  oomReport: OomReport | undefined;
  /** The memory in use of every container, in bytes. */
  memoryInUse: number | undefined;
  networkReady = true;
  /** Handlers that are missing in the configuration of the next start. */
  readonly missingHandlers = new Set<string>();
  bootId = "boot-1";
  /** The deps of the daemon that runs now. */
  deps: Deps;

  /** Pod id → address. */
  readonly attachments = new Map<string, string>();
  /** Container id → what its runtime knows. */
  readonly runtimeStates = new Map<string, { handler: string; main: number; monitor: number }>();
  /** Container id → the limits that its runtime was last given. */
  readonly limits = new Map<string, ResourcesSpec>();
  readonly limitFiles = new Map<string, readonly LimitFile[]>();
  readonly oomScores = new Map<string, number>();
  readonly images = new Map<string, ImageRecord>();
  readonly processSpecs = new Map<string, ProcessSpec>();
  /** How often the daemon was restarted. */
  lives = 0;
  #ids = 0;
  /** How many addresses pods have been given. */
  addresses = 0;

  readonly #tally: Tally;

  constructor(tally: Tally = noTally) {
    super();
    this.#tally = tally;
    for (const dir of [podDir(this.paths, ""), bundleDir(this.paths, ""), containersDir(this.paths)])
      mkdirSync(dir, { recursive: true });
    this.addImage("busybox");
    this.deps = this.#newDeps();
  }

  [Symbol.dispose](): void {
    this.db.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /**
   * Kills the daemon and starts it again, with another `bootId` after a reboot. What it had in memory is gone; recovery
   * has not run.
   */
  restart(options: { bootId?: string } = {}): Deps {
    if (options.bootId !== undefined && options.bootId !== this.bootId) this.#reboot(options.bootId);
    this.forgetListeners();
    this.lives += 1;
    this.deps = this.#newDeps();
    return this.deps;
  }

  /** Everything that exists except images, including records; sorted. */
  left(): string[] {
    const rows = (["pods", "containers"] as const).flatMap((table) =>
      this.db
        .prepare(`SELECT id FROM ${table}`)
        .all()
        .map((row) => `record in ${table}: ${String(row["id"])}`),
    );
    const dirs = [podDir(this.paths, ""), bundleDir(this.paths, ""), containersDir(this.paths)].flatMap((dir) =>
      readdirSync(dir).map((name) => `directory ${join(dir, name).slice(this.dir.length)}`),
    );
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

  addImage(name: string, over: Partial<ImageRecord> = {}, volumes: string[] = []): void {
    const config = {
      os: "linux",
      architecture: "amd64",
      variant: "",
      created: "",
      user: "",
      env: [],
      entrypoint: [],
      cmd: ["/bin/sh"],
      workingDir: "",
      stopSignal: "",
      labels: {},
      volumes,
      exposedPorts: [],
      diffIds: [],
    };
    this.images.set(name, {
      id: `sha256:${"1".repeat(64)}`,
      repoTags: [name],
      repoDigests: [],
      manifestDigest: "",
      layers: ["layer"],
      sizeBytes: 1,
      pulledAtMs: 0,
      config,
      ...over,
    });
  }

  /** Kills the init of a pod, and with it every process in the pod's PID namespace. */
  killInit(podId: string): void {
    const init = [...this.processes.values()].find((p) => p.kind === "init" && p.ownerId === podId);
    if (init === undefined) return;
    this.gone(init);
    for (const p of [...this.processes.values()].filter((p) => p.kind === "main" && this.podOf(p.ownerId) === podId))
      this.end(p, 137);
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
    const log: Log = {
      debug: () => {},
      info: () => {},
      warn: (fields, text) => this.#keep(fields, text),
      error: (fields, text) => this.#keep(fields, text),
    };
    const handlers = ["crun", "runc", "kata"]
      .filter((name) => !this.missingHandlers.has(name))
      .map((name) => {
        const facts = {
          name,
          recursiveReadOnlyMounts: true,
          userNamespaces: true,
          sandbox: name === "kata" ? ("container" as const) : ("none" as const),
        };
        return {
          name,
          path: `/usr/bin/${name}`,
          facts,
          refreshFacts: () => Promise.resolve(),
          runtime: fakeRuntime(this, name),
          type: "oci" as const,
          version: "1.0",
          root: `/run/${name}`,
          settings: defaultHandlerSettings,
          problem: () => undefined,
          refusal: () => undefined,
        };
      });
    return joinParts({
      log,
      paths,
      host: hostFrom(),
      bootId: this.bootId,
      ...openRecords(
        {
          pods: new FaultyTable(this, "pods", readPodRecord, writePodRecord),
          containers: new FaultyTable(this, "containers", readContainerRecord, writeContainerRecord),
        },
        paths,
        this.bootId,
        log,
      ),
      podHost: fakePodHost(this),
      containerHost: fakeContainerHost(this),
      runtimes: new Runtimes(handlers, "crun"),
      network: fakeNetwork(this),
      holes: { found: () => [] },
      images: fakeImages(this),
      puller: {
        pull: () => Promise.reject(new StatusError(Code.Unavailable, "this machine has no registry")),
        pullsInProgress: () => [],
        receivedBytes: 0,
      },
      streaming: { urlFor: (request) => Promise.resolve(`http://127.0.0.1:1/${request.is}/token`) },
      tally: this.#tally,
      usage: { source: this.usage, machine: fakeMachine(this.usage), available: everything },
      pinnedImages: new Set(),
      containerPolicy: {
        defaults: { pidsLimit: 0, rlimits: [] },
        deviceOwnershipFromSecurityContext: false,
        classFiles: { blockIo: join(this.dir, "blockio.yaml"), rdt: join(this.dir, "rdt.yaml") },
      },
      cdi: new CdiSpecDirs([join(this.dir, "cdi")]),
      mountPolicy: { createMissingSources: true, missingSourcesToRefuse: [], imageVolumes: "bind" },
      podPolicy: defaultPodPolicy,
      lingerMs: 60_000,
      createTimeoutMs: 240_000,
      stopTimeoutMs: 240_000,
      cleanupTimeoutMs: 60_000,
      newId: () => (this.#ids += 1).toString(16).padStart(8, "0").padEnd(64, "0"),
      nowNs: () => this.nowNs(),
    });
  }

  #keep(fields: object, text: string): void {
    const error = "err" in fields ? `: ${messageOf(fields.err)}` : "";
    this.logged.push(text + error);
  }

  /** @internal For the fakes. */
  podOf(containerId: string): string | undefined {
    return this.deps.containers.get(containerId)?.podId;
  }
}
