import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type CriClient, createCriClient } from "@keelson/cri/client.ts";
import {
  type ContainerConfig,
  type ContainerStatus,
  type DeepPartial,
  type PodSandboxConfig,
  type PodSandboxStatus,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import { linesOf, logSoFar } from "@keelson/testkit/cri-log.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import {
  built,
  imageSpec,
  type Pod,
  type RuntimeName,
  TestNode,
  type TestNodeOptions,
} from "../../testing/test-node.ts";

const fileOf = (name: string) =>
  built === undefined ? join(import.meta.dirname, `${name}.ts`) : join(built, `lib/keelson/${name}.js`);
const program = fileOf("crashing-daemon");
const workerPoints = fileOf("worker-points");
const bin = join(import.meta.dirname, "../../../../../bin");

/** The tools that keelsond runs; each is a script here that can be given something to do first. */
const tools = {
  conmon: "/usr/bin/conmon",
  crun: "/usr/bin/crun",
  runc: "/usr/bin/runc",
  runsc: "/usr/bin/runsc",
} as const;
const plugins = ["bridge", "portmap", "host-local"] as const;
const pluginsDir = "/usr/lib/cni";

/** How a daemon that serves is told from one that only waits to. */
interface Process {
  readonly child: ChildProcess;
  readonly logFile: string;
  output: string;
}

/** What a pod is: see the key of that name in the configuration. */
export type Sandbox = "none" | "container";

/**
 * A TestNode whose daemon dies where it is told to, and comes back on the same root. The daemon is crashing-daemon.ts;
 * when it is disposed of, the real keelsond takes all pods down and nothing may be left.
 */
export class CrashNode implements AsyncDisposable {
  readonly node: TestNode;
  /** The OCI runtime of all its containers. */
  readonly runtime: RuntimeName;
  readonly sandbox: Sandbox;
  /** How many layers an image has, by Image.id; one when it is not in here. No two images share any. */
  readonly layers = new Map<string, number>();
  readonly #crashDir: string;
  #daemon: Process | undefined;
  /** Loaded already, for the next start. */
  #spare: Process | undefined;
  #client: CriClient | undefined;
  #starts = 0;
  #armed = 0;

  private constructor(node: TestNode, runtime: RuntimeName, sandbox: Sandbox) {
    this.node = node;
    this.runtime = runtime;
    this.sandbox = sandbox;
    this.#crashDir = join(node.dir, "crash");
  }

  static async start(options: TestNodeOptions & { sandbox?: Sandbox } = {}): Promise<CrashNode> {
    const node = await TestNode.start(options);
    await using undo = new AsyncDisposableStack();
    undo.use(node);
    await node.stop();
    const crash = new CrashNode(
      node,
      options.runtime ?? "crun",
      options.sandbox ?? (options.runtime === "runsc" ? "container" : "none"),
    );
    mkdirSync(crash.#crashDir);
    crash.#writeTools();
    await crash.startAgain();
    undo.move();
    return crash;
  }

  /** Of the daemon that runs. */
  get pid(): number {
    return this.#daemon!.child.pid!;
  }

  /** Of the daemon, and of the one that waits to be the next. */
  get daemonPids(): number[] {
    return [this.#daemon, this.#spare].flatMap((process) => process?.child.pid ?? []);
  }

  /** From now on the daemon dies at the first point that is not one of these. */
  arm(done: readonly string[]): void {
    rmSync(join(this.#crashDir, "died"), { force: true });
    writeFileSync(join(this.#crashDir, "arm.new"), [(this.#armed += 1), ...done].join("\n"));
    renameSync(join(this.#crashDir, "arm.new"), join(this.#crashDir, "arm"));
  }

  /** From now on the daemon dies when one of its layer workers does this step and has done it so many times; see worker-points.ts. */
  armWorker(step: string, times: number): void {
    rmSync(join(this.#crashDir, "died"), { force: true });
    writeFileSync(join(this.#crashDir, "arm-worker"), `${step} ${times} ${(this.#armed += 1)}`);
  }

  disarm(): void {
    rmSync(join(this.#crashDir, "arm"), { force: true });
    rmSync(join(this.#crashDir, "arm-worker"), { force: true });
  }

  /** Where the daemon died, when it did within this time. */
  async diedAt(withinMs: number): Promise<string | undefined> {
    const { child } = this.#daemon!;
    for (const endMs = performance.now() + withinMs; !hasEnded(child) && performance.now() < endMs;) await sleep(5);
    if (!existsSync(join(this.#crashDir, "died"))) return undefined;
    await waitFor(() => hasEnded(child));
    return readFileSync(join(this.#crashDir, "died"), "utf8").trim();
  }

  /** From now on daemons see a time of day that is so many seconds off the machine's. */
  setClock(seconds: number): void {
    writeFileSync(join(this.#crashDir, "clock.new"), String(seconds * 1000));
    renameSync(join(this.#crashDir, "clock.new"), join(this.#crashDir, "clock"));
  }

  /**
   * The next time that a tool (`crun start`, `conmon create`, `bridge ADD`) runs, it does this first, in a shell where
   * `$daemon` is the daemon's pid and `"$real" "$@"` the tool itself.
   */
  trap(tool: string, script: string): void {
    writeFileSync(join(this.#crashDir, `trap ${tool}`), script);
  }

  /** Whether a trap is still to come. */
  isTrapSet(tool: string): boolean {
    return existsSync(join(this.#crashDir, `trap ${tool}`));
  }

  call<N extends UnaryCallName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    return this.#client!.call(name, request, AbortSignal.timeout(30_000));
  }

  /** Waits for the end of a daemon that something else kills. */
  async untilDead(): Promise<void> {
    await waitFor(() => hasEnded(this.#daemon!.child), { message: "the daemon still runs" });
  }

  /** Ends the daemon by force. */
  async kill(): Promise<void> {
    this.#daemon!.child.kill("SIGKILL");
    await this.untilDead();
  }

  /** Starts the daemon, which has died, on the same directories; returns when it serves. */
  async startAgain(bootId?: string): Promise<void> {
    this.disarm();
    this.#client?.close();
    assert.ok(this.#daemon === undefined || hasEnded(this.#daemon.child), "the daemon runs");
    if (bootId !== undefined) await this.#dropSpare();
    const daemon = this.#spare ?? this.#load(bootId);
    this.#spare = undefined;
    this.#daemon = daemon;
    daemon.child.stdin!.write("go\n");
    writeFileSync(join(this.#crashDir, "pid"), String(daemon.child.pid));
    await waitFor(() => hasEnded(daemon.child) || daemon.output.includes("serving\n"), { timeoutMs: 60_000 });
    assert.ok(!hasEnded(daemon.child), `the daemon ended at once: ${readFileSync(daemon.logFile, "utf8")}`);
    this.#client = createCriClient(this.node.endpoint);
    this.#spare = this.#load(bootId);
  }

  /** The log of the daemon that was started last. */
  daemonLog(): string {
    return readFileSync(this.#daemon!.logFile, "utf8");
  }

  async runPod(overrides: DeepPartial<PodSandboxConfig> = {}): Promise<Pod> {
    const config = this.node.podConfig(overrides);
    const { podSandboxId } = await this.call("runPodSandbox", { config, runtimeHandler: "" });
    return { id: podSandboxId, config };
  }

  async createContainer(pod: Pod, config: ContainerConfig): Promise<string> {
    const { containerId } = await this.call("createContainer", {
      podSandboxId: pod.id,
      config,
      sandboxConfig: pod.config,
    });
    return containerId;
  }

  async runContainer(pod: Pod, overrides: string | DeepPartial<ContainerConfig>): Promise<string> {
    const containerId = await this.createContainer(pod, this.node.containerConfig(overrides));
    await this.call("startContainer", { containerId });
    return containerId;
  }

  async removeContainer(containerId: string): Promise<void> {
    await this.call("removeContainer", { containerId });
  }

  async removePod(podSandboxId: string): Promise<void> {
    await this.call("stopPodSandbox", { podSandboxId });
    await this.call("removePodSandbox", { podSandboxId });
  }

  async pull(image: string): Promise<string> {
    const { imageRef } = await this.call("pullImage", {
      image: imageSpec(image),
      auth: undefined,
      sandboxConfig: undefined,
    });
    return imageRef;
  }

  async containerStatus(containerId: string): Promise<ContainerStatus> {
    return (await this.call("containerStatus", { containerId, verbose: false })).status!;
  }

  async podStatus(podSandboxId: string): Promise<PodSandboxStatus> {
    return (await this.call("podSandboxStatus", { podSandboxId, verbose: false })).status!;
  }

  /** What a verbose status tells beside the CRI. */
  async containerInfo(containerId: string): Promise<{ pid: number; cgroup: string; bundle: string }> {
    const { info } = await this.call("containerStatus", { containerId, verbose: true });
    return JSON.parse(info["info"]!) as { pid: number; cgroup: string; bundle: string };
  }

  async podInfo(podSandboxId: string): Promise<{ pid: number; netns: string; stateDir: string }> {
    const { info } = await this.call("podSandboxStatus", { podSandboxId, verbose: true });
    return JSON.parse(info["info"]!) as { pid: number; netns: string; stateDir: string };
  }

  async untilLogged(id: string, line: string): Promise<void> {
    const { logPath } = await this.containerStatus(id);
    await waitFor(() => linesOf(logSoFar(logPath)).includes(line), {
      message: `container ${id} has not logged ${line}`,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dropSpare();
    this.#client?.close();
    if (this.#daemon !== undefined) await this.kill();
    await this.node[Symbol.asyncDispose]();
  }

  #load(bootId: string | undefined): Process {
    const logFile = join(this.node.dir, `crashing-daemon.${(this.#starts += 1)}.log`);
    const fd = openSync(logFile, "a");
    const { NODE_TEST_CONTEXT: _, ...base } = process.env;
    const env = {
      NODE_COMPILE_CACHE: join(this.#crashDir, "compiled"),
      ...base,
      KEELSON_CRASH_DIR: this.#crashDir,
      ...(bootId === undefined ? {} : { KEELSON_CRASH_BOOT_ID: bootId }),
    };
    const child = spawn(join(bin, "node"), ["--import", workerPoints, program, this.node.configFile], {
      stdio: ["pipe", "pipe", fd],
      env,
    });
    closeSync(fd);
    const loaded: Process = { child, logFile, output: "" };
    child.stdin!.on("error", () => undefined);
    child.stdout!.setEncoding("utf8").on("data", (text: string) => (loaded.output += text));
    return loaded;
  }

  async #dropSpare(): Promise<void> {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare === undefined) return;
    spare.child.kill("SIGKILL");
    await waitFor(() => hasEnded(spare.child));
  }

  /** Puts scripts in the places of the tools. */
  #writeTools(): void {
    const toolsDir = join(this.node.dir, "tools");
    mkdirSync(toolsDir);
    for (const [name, path] of [
      ...Object.entries(tools),
      ...plugins.map((name) => [name, join(pluginsDir, name)] as const),
    ]) {
      const file = join(toolsDir, name);
      const verb =
        name === "conmon"
          ? "verb=create"
          : 'verb=$CNI_COMMAND; for arg; do [ -n "$verb" ] && break; case $arg in -*) ;; *) verb=$arg ;; esac; done';
      writeFileSync(
        file,
        `#!/bin/sh
real=${path} daemon=$(cat '${this.#crashDir}/pid')
${verb}
trap='${this.#crashDir}/trap ${name} '$verb
if [ -e "$trap" ] && mv "$trap" "$trap.$$"; then . "$trap.$$"; fi
exec "$real" "$@"
`,
      );
      chmodSync(file, 0o755);
    }
    const config = readFileSync(this.node.configFile, "utf8");
    // A shim has no tools of ours between.
    const section = this.runtime.startsWith("shim-")
      ? ""
      : `[runtimes.${this.runtime}]\npath = "${toolsDir}/${this.runtime}"\nsandbox = "${this.sandbox}"\n`;
    writeFileSync(
      this.node.configFile,
      `conmon = "${toolsDir}/conmon"\n${config.replace("[cni]\n", `[cni]\nbin_dirs = ["${toolsDir}"]\n`)}\n${section}`,
    );
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
