import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Code, codeName, StatusError } from "@keelson/base/status.ts";
import { type CriClient, createCriClient } from "@keelson/cri/client.ts";
import {
  ContainerConfig,
  ContainerState,
  type ContainerStatus,
  type DeepPartial,
  NamespaceMode,
  PodSandboxConfig,
  type PodSandboxStatus,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import { linesOf, type LogEntry, logSoFar, parseLog } from "@keelson/testkit/cri-log.ts";
import { inOwnSandbox } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { leftBehind, type Snapshot, takeSnapshot } from "@keelson/testkit/leaks.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { runtimeBinary } from "@keelson/testkit/runtime-binary.ts";
import { slowness, waitFor } from "@keelson/testkit/wait.ts";

/** Those whose parts, a monitor and a command line, a test puts others in place of. */
export const ociRuntimes = ["crun", "runc"] as const;

/** The handlers that behaviour which depends on them is tested with: OCI runtimes, and containerd's shim with one of them. */
export const runtimes = [...ociRuntimes, "shim-runc"] as const;
export type RuntimeName = (typeof runtimes)[number] | "runsc" | "shim-crun";

/** An address of the sandbox's host that is not loopback, while a node is there. */
export const hostAddress = "192.0.2.1";

/** Where the programs are as `scripts/build.mjs --for-tests` bundles them; undefined: they run from the sources. */
export const built = process.env["KEELSON_TEST_BUILT"] || undefined;
const bin = join(built ?? join(import.meta.dirname, "../../../.."), "bin");
/** The programs, as a person starts them. */
export const keelsond = join(bin, "keelsond");
export const keelctl = join(bin, "keelctl");
/** The cgroup driver that the whole run is with (`npm run test:guest`); undefined for the machine's own. */
export const cgroupDriver = process.env["KEELSON_TEST_CGROUP_DRIVER"];
const uplink = "uplink0";
const bridge = "keel0";

export interface TestNodeOptions {
  /** The default runtime handler; crun unless told. */
  readonly runtime?: RuntimeName;
  /** Whether there is a CNI list from the start; true unless told. */
  readonly network?: boolean;
  /** More sections of the configuration, as TOML. */
  readonly config?: string;
  /** Keep everything on a disk instead of in memory, because tmpfs has no idmapped mounts before Linux 6.3. */
  readonly onDisk?: boolean;
}

/** A pod as the tests pass it on. */
export interface Pod {
  readonly id: string;
  readonly config: PodSandboxConfig;
}

/** How a command in a container ended. */
export interface ExecOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/**
 * A real keelsond in a process of its own on directories of its own, with a registry that has a busybox, and a
 * client. When it is disposed of it takes all pods down, ends the daemon and throws when anything is left behind.
 * The logs of all daemons are printed when the test file fails.
 */
export class TestNode implements AsyncDisposable {
  /** Holds everything: `root`, `state`, `net.d`, `logs`. */
  readonly dir: string;
  readonly registry: Registry;
  /** The busybox in the registry; pulled. */
  readonly image: string;
  /** Image.id of it. */
  readonly imageId: string;
  readonly #before: Snapshot;
  #daemon: ChildProcess | undefined;
  #client: CriClient | undefined;
  #starts = 0;
  #made = 0;

  private constructor(dir: string, before: Snapshot, registry: Registry, image: string, imageId: string) {
    this.dir = dir;
    this.#before = before;
    this.registry = registry;
    this.image = image;
    this.imageId = imageId;
  }

  /** Starts a daemon and pulls the image. */
  static async start(options: TestNodeOptions = {}): Promise<TestNode> {
    assert.ok(inOwnSandbox(), "a TestNode is only for a sandbox");
    const before = takeSnapshot();
    await using undo = new AsyncDisposableStack();
    const dir = mkdtempSync(options.onDisk === true ? "/var/tmp/keelson-node-" : "/run/keelson-node-");
    undo.defer(() => rmSync(dir, { recursive: true }));
    undo.defer(removeNetworks);
    // Roots of user namespaces must get through to their bundles, as they do through /run.
    chmodSync(dir, 0o711);
    addUplink();
    const registry = undo.use(await Registry.start());
    const content = busyboxImage();
    const node = new TestNode(
      dir,
      before,
      registry,
      registry.add("library/busybox", "latest", content),
      content.config.digest,
    );
    for (const name of ["net.d", "logs", "certs.d"]) mkdirSync(join(dir, name));
    writeFileSync(node.configFile, `${configOf(dir, options.runtime ?? "crun")}${options.config ?? ""}`);
    if (options.network !== false) node.writeNetwork();
    undo.defer(() => void node.#daemon?.kill("SIGKILL"));
    await node.startAgain();
    await node.call("pullImage", { image: imageSpec(node.image), auth: undefined, sandboxConfig: undefined });
    undo.move();
    return node;
  }

  get root(): string {
    return join(this.dir, "root");
  }

  get state(): string {
    return join(this.dir, "state");
  }

  get socketPath(): string {
    return join(this.dir, "k.sock");
  }

  get endpoint(): string {
    return `unix://${this.socketPath}`;
  }

  get configFile(): string {
    return join(this.dir, "config.toml");
  }

  /** Where CDI specifications may be; made by who needs it. */
  get cdiDir(): string {
    return join(this.dir, "cdi");
  }

  get networkFile(): string {
    return join(this.dir, "net.d/10-keel.conflist");
  }

  /** Of the daemon that runs. */
  get pid(): number {
    assert.ok(this.#daemon?.pid !== undefined, "the daemon does not run");
    return this.#daemon.pid;
  }

  writeNetwork(): void {
    writeFileSync(this.networkFile, JSON.stringify(networkList));
  }

  /** Makes a call; after a minute it is an error. */
  call<N extends UnaryCallName>(
    name: N,
    request: RequestOf<N>,
    signal: AbortSignal = AbortSignal.timeout(60_000 * slowness),
  ): Promise<ResponseOf<N>> {
    assert.ok(this.#client !== undefined, "the daemon does not run");
    return this.#client.call(name, request, signal);
  }

  /** Starts the daemon, which must not run, on the same directories; returns when it serves. */
  async startAgain(): Promise<void> {
    assert.equal(this.#daemon, undefined);
    const file = this.#logFile(++this.#starts);
    const fd = openSync(file, "a");
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const daemon = spawn(keelsond, ["--config", this.configFile], { stdio: ["ignore", fd, fd], env });
    closeSync(fd);
    this.#daemon = daemon;
    await waitFor(() => hasEnded(daemon) || readFileSync(file, "utf8").includes('"msg":"serving"'), {
      timeoutMs: 60_000, // a machine that others use
      message: () => readFileSync(file, "utf8"),
    });
    if (hasEnded(daemon)) {
      this.#daemon = undefined;
      assert.fail(`keelsond ended at once: ${readFileSync(file, "utf8")}`);
    }
    this.#client = createCriClient(this.endpoint);
  }

  /** Ends the daemon as a service manager does; returns when it has ended, and checks that it ended well. */
  async stop(): Promise<void> {
    const daemon = await this.#end("SIGTERM");
    assert.deepEqual([daemon.exitCode, daemon.signalCode], [0, null], "keelsond ends with 0 after SIGTERM");
  }

  /** Ends the daemon by force. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    await this.#end(signal);
  }

  async #end(signal: NodeJS.Signals): Promise<ChildProcess> {
    const daemon = this.#daemon;
    assert.ok(daemon !== undefined, "the daemon does not run");
    this.#client?.close();
    this.#client = undefined;
    daemon.kill(signal);
    await waitFor(() => hasEnded(daemon), { timeoutMs: 60_000, message: `keelsond did not end after ${signal}` });
    this.#daemon = undefined;
    return daemon;
  }

  /** The log of the daemon that was started last. */
  daemonLog(): string {
    return readFileSync(this.#logFile(this.#starts), "utf8");
  }

  /** The config of a pod with names and a log directory of its own and without a PID namespace; `linux` is merged one level deep. */
  podConfig(overrides: DeepPartial<PodSandboxConfig> = {}): PodSandboxConfig {
    const name = `pod-${++this.#made}`;
    return PodSandboxConfig.fromPartial({
      metadata: { name, uid: `uid-${name}`, namespace: "default", attempt: 0 },
      logDirectory: join(this.dir, "logs", name),
      ...overrides,
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } }, ...overrides.linux },
    });
  }

  async runPod(overrides: DeepPartial<PodSandboxConfig> = {}, runtimeHandler = ""): Promise<Pod> {
    const config = this.podConfig(overrides);
    const { podSandboxId } = await this.call("runPodSandbox", { config, runtimeHandler });
    return { id: podSandboxId, config };
  }

  /** The config of a container with a name and log of its own; a string is a script for `sh -c`. */
  containerConfig(overrides: string | DeepPartial<ContainerConfig>): ContainerConfig {
    const name = `container-${++this.#made}`;
    const rest = typeof overrides === "string" ? { command: ["sh", "-c", overrides] } : overrides;
    return ContainerConfig.fromPartial({
      metadata: { name, attempt: 0 },
      image: { image: this.image },
      logPath: `${name}.log`,
      ...rest,
    });
  }

  async createContainer(pod: Pod, overrides: string | DeepPartial<ContainerConfig>): Promise<string> {
    const config = this.containerConfig(overrides);
    const { containerId } = await this.call("createContainer", {
      podSandboxId: pod.id,
      config,
      sandboxConfig: pod.config,
    });
    return containerId;
  }

  async startContainer(containerId: string): Promise<void> {
    await this.call("startContainer", { containerId });
  }

  /** Creates and starts. */
  async runContainer(pod: Pod, overrides: string | DeepPartial<ContainerConfig>): Promise<string> {
    const id = await this.createContainer(pod, overrides);
    await this.startContainer(id);
    return id;
  }

  async stopContainer(containerId: string, timeoutS: number): Promise<void> {
    await this.call("stopContainer", { containerId, timeout: BigInt(timeoutS) });
  }

  async removeContainer(containerId: string): Promise<void> {
    await this.call("removeContainer", { containerId });
  }

  async stopPod(podSandboxId: string): Promise<void> {
    await this.call("stopPodSandbox", { podSandboxId });
  }

  /** Stops and removes. */
  async removePod(podSandboxId: string): Promise<void> {
    await this.stopPod(podSandboxId);
    await this.call("removePodSandbox", { podSandboxId });
  }

  /** Removes all pods. */
  async removePods(): Promise<void> {
    const { items } = await this.call("listPodSandbox", { filter: undefined });
    await Promise.all(items.map((pod) => this.removePod(pod.id)));
  }

  async containerStatus(containerId: string): Promise<ContainerStatus> {
    const { status } = await this.call("containerStatus", { containerId, verbose: false });
    return status!;
  }

  async podStatus(podSandboxId: string): Promise<PodSandboxStatus> {
    const { status } = await this.call("podSandboxStatus", { podSandboxId, verbose: false });
    return status!;
  }

  /** What the verbose status of a container tells beside the CRI. */
  async containerInfo(containerId: string): Promise<{ pid: number; cgroup: string; bundle: string }> {
    const { info } = await this.call("containerStatus", { containerId, verbose: true });
    return JSON.parse(info["info"]!) as { pid: number; cgroup: string; bundle: string };
  }

  async untilExited(id: string, timeoutMs = 15_000): Promise<ContainerStatus> {
    let status = await this.containerStatus(id);
    const hasExited = async () => (status = await this.containerStatus(id)).state === ContainerState.CONTAINER_EXITED;
    await waitFor(hasExited, { timeoutMs, message: `container ${id} has not ended` });
    return status;
  }

  /** ExecSync; a string is a script for `sh -c`. */
  async exec(containerId: string, command: string | readonly string[], timeoutS = 0): Promise<ExecOutput> {
    const cmd = typeof command === "string" ? ["sh", "-c", command] : [...command];
    const { stdout, stderr, exitCode } = await this.call("execSync", { containerId, cmd, timeout: BigInt(timeoutS) });
    return { stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString(), exitCode };
  }

  /** The stdout of a command that must succeed. */
  async output(containerId: string, command: string | readonly string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.exec(containerId, command);
    assert.equal(exitCode, 0, `${command.toString()}: ${stderr}${stdout}`);
    return stdout;
  }

  /** The stdout of a container that runs a script to its end in a pod and succeeds. */
  async outputOf(pod: Pod, overrides: string | DeepPartial<ContainerConfig>): Promise<string> {
    const id = await this.runContainer(pod, overrides);
    const { exitCode, logPath } = await this.untilExited(id);
    const entries = parseLog(readFileSync(logPath, "utf8"));
    await this.removeContainer(id);
    assert.equal(exitCode, 0, entries.map((entry) => entry.text).join("\n"));
    return linesOf(entries).join("\n");
  }

  async log(id: string): Promise<LogEntry[]> {
    const { logPath } = await this.containerStatus(id);
    return logSoFar(logPath);
  }

  /** Waits until a container has written a line to stdout. */
  async untilLogged(id: string, line: string): Promise<void> {
    await waitFor(async () => linesOf(await this.log(id)).includes(line), {
      message: `container ${id} has not logged ${line}`,
    });
  }

  /** What there is now and was not before the node: a sentence for each thing. What CNI plugins keep on purpose is left out. */
  leftBehind(settleMs = 10_000): string[] {
    const deadline = performance.now() + settleMs * slowness;
    for (;;) {
      const isOurs = (process: { pid: number }) => process.pid === this.#daemon?.pid;
      const left = leftBehind(this.#before, { settleMs: 0, ignoreProcess: isOurs }).filter(
        (sentence) => !staysOnPurpose(sentence),
      );
      if (left.length === 0 || performance.now() >= deadline) return left;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
  }

  /** Files and directories of pods and containers that are on disk now. */
  remains(): string[] {
    const dirs = ["root/containers", "root/cni/results", "state"].map((name) => join(this.dir, name));
    return dirs
      .filter((dir) => existsSync(dir))
      .flatMap((dir) => readdirSync(dir, { recursive: true, encoding: "utf8" }).map((name) => join(dir, name)))
      .filter((path) => /[0-9a-f]{64}/.test(path));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#daemon === undefined || hasEnded(this.#daemon)) {
        this.#daemon = undefined;
        await this.startAgain();
      }
      await this.removePods();
      const { containers } = await this.call("listContainers", { filter: undefined });
      assert.deepEqual(containers, []);
      await this.stop();
      assert.deepEqual(this.leftBehind(), []);
      assert.deepEqual(this.remains(), []);
    } finally {
      this.#client?.close();
      this.#daemon?.kill("SIGKILL");
      for (let start = 1; start <= this.#starts; start++) keepLog(this.#logFile(start));
      await this.registry[Symbol.asyncDispose]();
      removeNetworks();
      // Of all pods without a cgroup_parent: systemd keeps it when it is empty.
      if (cgroupDriver === "systemd") execFileSync("systemctl", ["stop", "keelson.slice"]);
      rmSync(this.dir, { recursive: true, force: true });
    }
  }

  #logFile(start: number): string {
    return join(this.dir, `keelsond.${start}.log`);
  }
}

export function imageSpec(image: string): {
  image: string;
  annotations: Record<string, string>;
  userSpecifiedImage: string;
  runtimeHandler: string;
  imageRef: string;
} {
  return { image, annotations: {}, userSpecifiedImage: "", runtimeHandler: "", imageRef: "" };
}

/** Checks that a call fails with a code, and with words where they matter. */
export async function rejectsWith(code: Code, promise: Promise<unknown>, words?: RegExp): Promise<void> {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof StatusError, String(error));
    assert.equal(codeName(error.code), codeName(code), error.message);
    if (words !== undefined) assert.match(error.message, words);
    return true;
  });
}

const networkList = {
  cniVersion: "1.0.0",
  name: "keel",
  plugins: [
    {
      type: "bridge",
      bridge,
      isGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.99.0.0/16" }]], routes: [{ dst: "0.0.0.0/0" }] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

function configOf(dir: string, runtime: RuntimeName): string {
  return `root = "${dir}/root"
state = "${dir}/state"
socket = "unix://${dir}/k.sock"
default_runtime = "${runtime}"
${cgroupDriver === undefined ? "" : `cgroup_driver = "${cgroupDriver}"`}
[log]
level = "debug"
[registry]
config_path = "${dir}/certs.d"
[cni]
conf_dir = "${dir}/net.d"
[cdi]
spec_dirs = ["${dir}/cdi"]
${shimSections}`;
}

/** The section of another handler with the same runtime, and more keys. */
export function sectionLike(runtime: RuntimeName, name: string, keys = ""): string {
  const shim = `type = "shim"\npath = "${runtimeBinary("containerd-shim-runc-v2") ?? "io.containerd.runc.v2"}"\noptions = { BinaryName = "${runtime.slice("shim-".length)}" }\n`;
  return `[runtimes.${name}]\n${runtime.startsWith("shim-") ? shim : `path = "${runtime}"\n`}${keys}`;
}

/** The handlers of containerd's shim, which are none without a section. */
const shimSections = (["shim-runc", "shim-crun"] as const).map((name) => sectionLike(name, name)).join("");

/** Something for packets to come in on: a sandbox's network has `lo` alone. */
function addUplink(): void {
  execFileSync("ip", ["link", "add", uplink, "type", "bridge"]); // a kernel need not have dummy links
  execFileSync("ip", ["addr", "add", `${hostAddress}/24`, "dev", uplink]);
  execFileSync("ip", ["link", "set", uplink, "up"]);
}

/** systemd keeps the slice of all pods without a cgroup_parent; the bridge plugin keeps its bridge, portmap its entry chains; we our uplink until we go. */
function staysOnPurpose(sentence: string): boolean {
  if ([bridge, uplink].some((name) => sentence === `network interface ${name} is still there`)) return true;
  if (
    ["cgroup /sys/fs/cgroup/keelson.slice is still there", "systemd unit keelson.slice is still loaded"].includes(
      sentence,
    )
  )
    return true;
  return /^ip6?tables .* (the chain CNI-HOSTPORT-(DNAT|MASQ|SETMARK)|the rule -A (PREROUTING|OUTPUT|POSTROUTING) .*-j CNI-HOSTPORT-\w+|the rule -A CNI-HOSTPORT-(MASQ|SETMARK) .*)$/.test(
    sentence,
  );
}

function removeNetworks(): void {
  for (const link of [bridge, uplink]) {
    if (existsSync(`/sys/class/net/${link}`)) execFileSync("ip", ["link", "del", link]);
  }
  for (const command of ["iptables", "ip6tables"]) {
    for (const table of ["nat", "filter"])
      for (const what of ["-F", "-X"]) execFileSync(command, ["-t", table, what], { stdio: "ignore" });
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

const keptLogs: string[] = [];

/** Has the last lines of a daemon's log printed at the end of a test file that fails. */
function keepLog(file: string): void {
  if (keptLogs.length === 0) {
    process.on("exit", () => {
      if (process.exitCode === undefined || process.exitCode === 0) return;
      for (const text of keptLogs) process.stderr.write(text);
    });
  }
  const lines = readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => !/"code":"(Ok|NotFound)"/.test(line));
  keptLogs.push(`the end of ${file}:\n${lines.slice(-40).join("\n")}\n`);
}
