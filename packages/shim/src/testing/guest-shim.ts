import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  closeSync,
  constants as fsConstants,
  createReadStream,
  createWriteStream,
  existsSync,
  openSync,
  readFileSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  type WriteStream,
} from "node:fs";
import { createServer } from "node:net";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Code, StatusError } from "@keelson/base/status.ts";
import { connectTtrpc } from "@keelson/ttrpc/connect.ts";
import { TtrpcServer } from "@keelson/ttrpc/server.ts";
import { type Method, unary } from "@keelson/ttrpc/service.ts";
import { TaskExit } from "../gen/containerd/events/task.ts";
import * as sandboxTypes from "../gen/containerd/runtime/sandbox/v1/sandbox.ts";
import { ForwardRequest } from "../gen/containerd/services/events/ttrpc/v1/events.ts";
import * as task from "../gen/containerd/task/v2/task.ts";
import { Any, type Timestamp } from "../gen/google/protobuf/known.ts";
import { Metrics } from "../gen/io/containerd/cgroups/v2/metrics.ts";
import { Options } from "../gen/runtimeoptions/v1/options.ts";
import type { MessageType } from "../service-client.ts";

/**
 * A shim for tests that behaves like those of virtual machines: it starts slowly, prints JSON, has a sandbox of its own
 * for the pod's containers, shows no processes of this machine, and has its metrics from within; it refuses pods in the
 * host's network, and the host's devices. Its "guest" is just a root directory for each container.
 *
 * A pod's annotation `guest.test/quirks` names, with commas, what its shim does as real shims do, see `quirks`. A
 * container's annotation `guest.test/misbehave` has it do what shims must not: `garbage`, `fail` or `hang` at its
 * start, or hang, die or answer garbage in a call, as with `hang:Create`.
 *
 * Its options are those of a shim with a configuration file, which is JSON: `{ "startMs": 300 }`.
 */

interface Config {
  readonly startMs?: number;
}

interface Spec {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly process?: Process;
  readonly root?: { readonly path: string };
  readonly mounts?: readonly { readonly destination: string; readonly type?: string; readonly source?: string }[];
  readonly linux?: {
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[];
    readonly devices?: readonly { readonly path: string }[];
  };
}

interface Process {
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly cwd?: string;
}

const { values, positionals } = parseArgs({
  // Go's flags begin with one dash.
  args: process.argv.slice(2).map((arg) => (/^-[a-z]/.test(arg) ? `-${arg}` : arg)),
  options: {
    namespace: { type: "string" },
    address: { type: "string" },
    "publish-binary": { type: "string" },
    id: { type: "string" },
    bundle: { type: "string" },
    socket: { type: "string" },
    quirks: { type: "string" },
    v: { type: "boolean" },
  },
  allowPositionals: true,
});
const { namespace = "", address = "", id = "" } = values;
const misbehave = "guest.test/misbehave";

/** What a pod's shim may do as real ones do. */
const quirks = [
  /** It listens on an abstract socket, with a zero byte too many, and prints only a name, as Kata 1.x does. */
  "abstract",
  /** The end of a process's input is that of its output, too, as in Kata. */
  "input-ends-output",
  /** Signals are discarded once a container's first process is dead, and another process keeps it running. */
  "second-process",
  /** A container that was never started has no end: it stays created, and its Wait is never answered. */
  "unstarted-stays",
  /** The pod's machine is a process of its own in a cgroup of its own, and outlives the shim. */
  "machine",
  /** It writes to its log as fast as that is read. */
  "chatty",
  /** Whatever has ended is running, according to State. */
  "state-lies",
  /** Delete says that it has forgotten a container, and has not. */
  "delete-half",
  /** `start` never ends after it has forked the shim, which leaves the bundle. */
  "start-hangs",
  /** A Create that fails has unmounted the root file system. */
  "create-unmounts",
  /** `delete` takes 2.5 seconds, or fails. */
  "delete-slow",
  "delete-fails",
] as const;
type Quirk = (typeof quirks)[number];

/** The quirks in a list with commas. */
function parseQuirks(list = ""): ReadonlySet<Quirk> {
  const names = list.split(",").filter((name) => name !== "");
  const unknown = names.find((name) => !(quirks as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`there is no quirk ${unknown}`);
  return new Set(names as Quirk[]);
}

function quirksOf(spec: Spec): ReadonlySet<Quirk> {
  return parseQuirks(spec.annotations?.["guest.test/quirks"]);
}

/** Of the pod that this process serves. */
const own = parseQuirks(values.quirks);
const does = (quirk: Quirk) => own.has(quirk);

function readSpec(bundle: string): Spec {
  return JSON.parse(readFileSync(join(bundle, "config.json"), "utf8")) as Spec;
}

/** The socket for the pod of a container. */
function socketOf(spec: Spec): string {
  const sandbox = spec.annotations?.["io.kubernetes.cri.sandbox-id"] ?? id;
  return join(
    dirname(address),
    `guest-${createHash("sha256").update(`${namespace} ${sandbox}`).digest("hex").slice(0, 16)}.sock`,
  );
}

async function readConfig(): Promise<Config> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  const { configPath } = Options.decode(Any.decode(Buffer.concat(chunks)).value);
  return configPath === "" ? {} : (JSON.parse(readFileSync(configPath, "utf8")) as Config);
}

async function start(): Promise<void> {
  const config = await readConfig();
  const spec = readSpec(process.cwd());
  const wrong = spec.annotations?.[misbehave];
  if (wrong === "garbage") {
    process.stdout.write("hello, world\n");
    return;
  }
  if (wrong === "fail") throw new Error("no KVM on this machine");
  if (wrong === "hang") await delay(2 ** 30);
  const socket = socketOf(spec);
  if (isSandbox(spec)) {
    const asked = quirksOf(spec);
    await delay(config.startMs ?? 0);
    const args = [
      import.meta.filename,
      "-namespace",
      namespace,
      "-address",
      address,
      "-id",
      id,
      "-socket",
      socket,
      "-quirks",
      [...asked].join(),
      "serve",
    ];
    const hangs = asked.has("start-hangs");
    spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], {
      detached: true,
      stdio: "ignore",
      ...(hangs ? { cwd: "/" } : {}),
    }).unref();
    if (hangs) await delay(2 ** 30);
    while (!existsSync(printed(socket))) await delay(10);
  }
  process.stdout.write(readFileSync(printed(socket)));
}

function isSandbox(spec: Spec): boolean {
  return spec.annotations?.["io.kubernetes.cri.container-type"] !== "container";
}

/** The file with what `start` prints once a shim listens. */
function printed(socket: string): string {
  return `${socket}.address`;
}

/** There is nothing else to remove: of the guest only its machine outlives the shim, and that is left. */
async function remove(): Promise<void> {
  if (values.bundle !== undefined) {
    const spec = readSpec(values.bundle);
    rmSync(printed(socketOf(spec)), { force: true });
    const asked = quirksOf(spec);
    if (asked.has("delete-slow")) await delay(2500);
    if (asked.has("delete-fails")) throw new Error("the sandbox's files are gone");
  }
  process.stdout.write(
    task.DeleteResponse.encode(task.DeleteResponse.fromPartial({ exitStatus: 137, exitedAt: now() })).finish(),
  );
}

function now(): Timestamp {
  const ms = Date.now();
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 };
}

/** A container's first process, or an exec. */
class GuestProcess {
  readonly containerId: string;
  readonly execId: string;
  readonly bundle: string;
  readonly ended = Promise.withResolvers<void>();
  readonly #spec: Process;
  readonly #root: string;
  readonly #paths: { readonly stdin: string; readonly stdout: string; readonly stderr: string };
  readonly #netns: string | undefined;
  #child: ChildProcess | undefined;
  #second: ChildProcess | undefined;
  #isFirstDead = false;
  readonly #outputs: WriteStream[] = [];
  status: number = task.Status.CREATED;
  exitStatus = 0;
  exitedAt: Timestamp | undefined;

  readonly #isGuest: boolean;

  /** A sandbox is the guest itself, whatever its spec says to run. */
  constructor(
    names: { containerId: string; execId: string; bundle: string },
    isGuest: boolean,
    spec: Process,
    root: string,
    paths: { stdin: string; stdout: string; stderr: string },
    netns: string | undefined,
  ) {
    this.containerId = names.containerId;
    this.execId = names.execId;
    this.bundle = names.bundle;
    this.#isGuest = isGuest;
    this.#spec = spec;
    this.#root = root;
    this.#paths = paths;
    this.#netns = netns;
  }

  /** Opens the FIFOs for reading too, as Kata does: so the container never loses its reader. */
  start(): void {
    const fds = [this.#paths.stdout, this.#paths.stderr].map((path) =>
      path === "" ? "ignore" : openSync(path, fsConstants.O_RDWR),
    );
    const { args = [], env = [], cwd = "/" } = this.#spec;
    // A guest ends with its shim, and a PID namespace with its first process.
    const program = this.#isGuest
      ? ["/usr/bin/sleep", "infinity"]
      : ["/usr/sbin/chroot", this.#root, "/bin/sh", "-c", 'cd "$0" && exec "$@"', cwd, ...args];
    const inside = [
      "/usr/bin/setpriv",
      "--pdeathsig",
      "KILL",
      "/usr/bin/unshare",
      "--pid",
      "--fork",
      "--kill-child",
      ...program,
    ];
    const [file, ...rest] =
      this.#netns === undefined ? inside : ["/usr/bin/nsenter", `--net=${this.#netns}`, ...inside];
    const environment = Object.fromEntries(
      env.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
    const isCopied = does("input-ends-output");
    this.#child = spawn(file!, rest, {
      stdio: [this.#paths.stdin === "" ? "ignore" : "pipe", ...(isCopied ? (["pipe", "pipe"] as const) : fds)],
      detached: true,
      env: environment,
    });
    for (const [i, fd] of fds.entries()) {
      const from = [this.#child.stdout, this.#child.stderr][i];
      if (typeof fd !== "number") from?.resume();
      else if (isCopied) this.#outputs.push(from!.pipe(createWriteStream("", { fd })));
      else closeSync(fd);
    }
    if (this.#paths.stdin !== "")
      createReadStream("", { fd: openSync(this.#paths.stdin, fsConstants.O_RDWR | fsConstants.O_NONBLOCK) })
        .on("error", () => {})
        .pipe(this.#child.stdin!);
    this.#child.stdin?.on("error", () => {});
    this.status = task.Status.RUNNING;
    const first = once(this.#child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    void first.then(() => (this.#isFirstDead = true));
    if (does("second-process") && !this.#isGuest && this.execId === "") {
      const args = ["--pdeathsig", "KILL", "/usr/bin/sleep", "infinity"];
      this.#second = spawn("/usr/bin/setpriv", args, { stdio: "ignore" });
    }
    const second = this.#second === undefined ? undefined : once(this.#second, "exit");
    void Promise.all([first, second]).then(([[code, signal]]) =>
      this.end(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  }

  end(exitStatus: number): void {
    if (this.status === task.Status.STOPPED) return;
    this.status = task.Status.STOPPED;
    this.exitStatus = exitStatus;
    this.exitedAt = now();
    this.ended.resolve();
    void publishExit(this);
  }

  closeInput(): void {
    if (does("input-ends-output")) for (const output of this.#outputs) output.destroy();
    this.#child?.stdin?.end();
  }

  kill(signal: number, all: boolean): void {
    if (this.status === task.Status.STOPPED) throw new StatusError(Code.NotFound, "process already finished");
    if (this.status === task.Status.CREATED && does("unstarted-stays")) return;
    if (this.#isFirstDead) return;
    if (all) this.#second?.kill("SIGKILL");
    if (this.#child?.pid === undefined) return this.end(128 + signal);
    // The group's leader passes no signals on to the program.
    const { pid } = this.#child;
    const [program] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ");
    if (signal === 9 || program === undefined || program === "") process.kill(-pid, signal);
    else process.kill(Number(program), signal);
  }
}

async function publishExit({ containerId, execId, exitStatus, exitedAt }: GuestProcess): Promise<void> {
  try {
    using events = await connectTtrpc(`unix://${process.env["TTRPC_ADDRESS"]}`);
    const value = Buffer.from(
      TaskExit.encode(
        TaskExit.fromPartial({ containerId, id: execId === "" ? containerId : execId, exitStatus, exitedAt }),
      ).finish(),
    );
    const envelope = {
      namespace,
      topic: "/tasks/exit",
      timestamp: now(),
      event: { typeUrl: "containerd.events.TaskExit", value },
    };
    await events.call(
      "containerd.services.events.ttrpc.v1.Events",
      "Forward",
      ForwardRequest.encode(ForwardRequest.fromPartial({ envelope })).finish(),
      { timeoutMs: 5000 },
    );
  } catch {
    // Nobody listens for events now.
  }
}

const processes = new Map<string, GuestProcess>();
const wrongs = new Map<string, string>();
let netns: string | undefined;

function find(containerId: string, execId: string): GuestProcess {
  const found = processes.get(`${containerId} ${execId}`);
  if (found === undefined)
    throw new StatusError(Code.NotFound, `the guest has no process ${execId === "" ? containerId : execId}`);
  return found;
}

function create({
  id: containerId,
  bundle,
  stdin,
  stdout,
  stderr,
  terminal,
}: task.CreateTaskRequest): task.CreateTaskResponse {
  const spec = readSpec(bundle);
  const wrong = spec.annotations?.[misbehave];
  if (wrong !== undefined) wrongs.set(containerId, wrong);
  if (terminal) throw new StatusError(Code.Unimplemented, "this guest has no terminals");
  const isGuest = isSandbox(spec);
  if (isGuest) {
    if (does("machine")) startMachine(containerId);
    netns = spec.linux?.namespaces?.find(({ type }) => type === "network")?.path;
    if (netns === undefined)
      throw new StatusError(Code.FailedPrecondition, "the host's network cannot be had in a guest");
  }
  const device = [
    ...(spec.linux?.devices ?? []).map(({ path }) => path),
    ...(spec.mounts ?? []).flatMap(({ type, source }) =>
      type === "bind" && source !== undefined && isDevice(source) ? [source] : [],
    ),
  ][0];
  if (does("create-unmounts") && !isGuest) {
    execFileSync("umount", [join(bundle, "rootfs")]);
    throw new StatusError(Code.Unknown, "the guest's agent does not know the capability CAP_BPF");
  }
  if (device !== undefined)
    throw new StatusError(Code.FailedPrecondition, `the host's device ${device} cannot be had in a guest`);
  const root = spec.root?.path ?? "rootfs";
  processes.set(
    `${containerId} `,
    new GuestProcess(
      { containerId, execId: "", bundle },
      isGuest,
      spec.process ?? {},
      root.startsWith("/") ? root : join(bundle, root),
      { stdin, stdout, stderr },
      netns,
    ),
  );
  return { pid: 0 };
}

/** In a cgroup that is named after the sandbox, as Kata's overhead is. */
function startMachine(sandboxId: string): void {
  const dirs = readdirSync("/sys/fs/cgroup").includes("cgroup.procs") ? [""] : ["pids"];
  const cgroups = dirs.map((dir) => join("/sys/fs/cgroup", dir, `guest-${sandboxId}`));
  for (const dir of cgroups) mkdirSync(dir, { recursive: true });
  const enter = cgroups.map((dir) => `echo $$ > ${dir}/cgroup.procs`).join("; ");
  spawn("/bin/sh", ["-c", `${enter}; exec sleep infinity`], { stdio: "ignore", detached: true }).unref();
}

function isDevice(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && (stat.isBlockDevice() || stat.isCharacterDevice());
}

function exec({ id: containerId, execId, spec, stdin, stdout, stderr, terminal }: task.ExecProcessRequest): void {
  if (terminal) throw new StatusError(Code.Unimplemented, "this guest has no terminals");
  const { bundle } = find(containerId, "");
  const root = readSpec(bundle).root?.path ?? "rootfs";
  processes.set(
    `${containerId} ${execId}`,
    new GuestProcess(
      { containerId, execId, bundle },
      false,
      JSON.parse(String(spec?.value)) as Process,
      root.startsWith("/") ? root : join(bundle, root),
      { stdin, stdout, stderr },
      netns,
    ),
  );
}

function forget({ id: containerId, execId }: task.DeleteRequest): task.DeleteResponse {
  const found = find(containerId, execId);
  if (found.status === task.Status.RUNNING) throw new StatusError(Code.FailedPrecondition, "it runs");
  const answer = { pid: 0, exitStatus: found.exitStatus, exitedAt: found.exitedAt };
  if (does("delete-half")) return answer;
  // A container's commands go with it.
  const own = execId === "" ? [...processes.keys()].filter((name) => name.startsWith(`${containerId} `)) : [];
  for (const name of [...own, `${containerId} ${execId}`]) processes.delete(name);
  return answer;
}

function stats({ id: containerId }: task.StatsRequest): task.StatsResponse {
  find(containerId, "");
  const { user, system } = process.cpuUsage();
  const metrics = Metrics.fromPartial({
    cpu: { usageUsec: BigInt(user + system) },
    memory: { usage: 12_345_678n, inactiveFile: 345_678n, anon: 7_000_000n, usageLimit: 64n << 20n },
    pids: { current: 3n },
  });
  return {
    stats: { typeUrl: "io.containerd.cgroups.v2.Metrics", value: Buffer.from(Metrics.encode(metrics).finish()) },
  };
}

const nothing = { encode: () => ({ finish: () => Buffer.alloc(0) }), decode: () => undefined };

/** A method that misbehaves for the containers that ask for it. */
function method<Req extends { id: string }, Res>(
  name: string,
  request: MessageType<Req>,
  response: { encode(message: Res): { finish(): Uint8Array }; decode(bytes: Uint8Array): Res },
  handle: (request: Req) => Res | Promise<Res>,
): [string, Method] {
  const good = unary(request, response, async (message) => await handle(message));
  if (good.form !== "unary") throw new Error("a method of tasks has one answer");
  return [
    name,
    {
      form: "unary",
      async handle(bytes, call) {
        const { id: containerId } = request.decode(bytes);
        if (name === "Create")
          wrongs.set(containerId, readSpec(task.CreateTaskRequest.decode(bytes).bundle).annotations?.[misbehave] ?? "");
        switch (wrongs.get(containerId) ?? "") {
          case `hang:${name}`:
            return await new Promise(() => {});
          case `die:${name}`:
            return process.exit(1);
          case `garbage:${name}`:
            return Buffer.from("0affffffff0f", "hex");
          default:
            return await good.handle(bytes, call);
        }
      },
    },
  ];
}

/** Into the FIFO in the bundle of its first container. */
function chat(): void {
  const log = createWriteStream("", { fd: openSync("log", fsConstants.O_WRONLY) });
  const line = `${"chatter ".repeat(500)}\n`;
  const more = () => {
    while (log.write(line));
    log.once("drain", more);
  };
  log.on("error", () => {});
  more();
}

function serve(socket: string): void {
  if (does("chatty")) chat();
  const wait = async (p: GuestProcess) => {
    await p.ended.promise;
    return { exitStatus: p.exitStatus, exitedAt: p.exitedAt };
  };
  const tasks = Object.fromEntries([
    method("Create", task.CreateTaskRequest, task.CreateTaskResponse, create),
    method("Start", task.StartRequest, task.StartResponse, (r) => {
      find(r.id, r.execId).start();
      return { pid: 0 };
    }),
    method("State", task.StateRequest, task.StateResponse, (r) => {
      const p = find(r.id, r.execId);
      return task.StateResponse.fromPartial({
        id: r.id,
        bundle: p.bundle,
        status: (does("state-lies") && p.status === task.Status.STOPPED ? task.Status.RUNNING : p.status) as 1,
        exitStatus: p.exitStatus,
        exitedAt: p.exitedAt,
      });
    }),
    method("Wait", task.WaitRequest, task.WaitResponse, (r) => wait(find(r.id, r.execId))),
    method("Kill", task.KillRequest, nothing, (r) => find(r.id, r.execId).kill(r.signal, r.all)),
    method("Delete", task.DeleteRequest, task.DeleteResponse, forget),
    method("Exec", task.ExecProcessRequest, nothing, exec),
    method("CloseIO", task.CloseIORequest, nothing, (r) => find(r.id, r.execId).closeInput()),
    method("Update", task.UpdateTaskRequest, nothing, (r) => void find(r.id, "")),
    method("Stats", task.StatsRequest, task.StatsResponse, stats),
    method("Connect", task.ConnectRequest, task.ConnectResponse, () => ({
      shimPid: process.pid,
      taskPid: 0,
      version: "3",
    })),
    method("Shutdown", task.ShutdownRequest, nothing, (r) => {
      if (processes.size > 0 && !r.now) return;
      for (const file of [socket, printed(socket)]) rmSync(file, { force: true });
      setTimeout(() => process.exit(0), 20);
    }),
  ]);
  const sandbox = {
    Platform: unary(sandboxTypes.PlatformRequest, sandboxTypes.PlatformResponse, async () =>
      sandboxTypes.PlatformResponse.fromPartial({ platform: { os: "linux", architecture: "guest" } }),
    ),
  };
  const server = new TtrpcServer({
    // A bare address is that of a shim of version 2.
    [`containerd.task.v${does("abstract") ? 2 : 3}.Task`]: tasks,
    "containerd.runtime.sandbox.v1.Sandbox": sandbox,
  });
  rmSync(socket, { force: true });
  const listener = createServer((connection) => void server.accept(connection));
  const print = (text: string) => {
    writeFileSync(`${printed(socket)}.new`, text);
    renameSync(`${printed(socket)}.new`, printed(socket));
  };
  if (does("abstract")) listener.listen(`\0${socket}\0`, () => print(socket));
  else
    listener.listen(socket, () =>
      print(JSON.stringify({ version: 3, address: `unix://${socket}`, protocol: "ttrpc" })),
    );
}

try {
  if (values.v === true) process.stdout.write("guest-shim:\n  Version:  1.0.0\n");
  else if (positionals[0] === "start") await start();
  else if (positionals[0] === "delete") await remove();
  else if (positionals[0] === "serve" && values.socket !== undefined) serve(values.socket);
  else throw new Error("start, delete or serve");
} catch (error) {
  process.stderr.write(`guest-shim: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
