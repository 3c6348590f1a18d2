/**
 * `bin/node scripts/store-fixture.ts CHECKOUT VERSION`: makes packages/engine/testdata/store-VERSION, what a keelsond of
 * that version leaves behind when it is killed: its database and its files, with pods and containers of every kind. It
 * runs the daemon of a checkout (with its node_modules and addon), `.` for this one. Each release adds one; from then on
 * packages/engine/src/records/released-stores.test.ts opens it with every later build. A fixture is never made again.
 */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createCriClient } from "../packages/cri/src/client.ts";
import {
  ContainerConfig,
  type DeepPartial,
  NamespaceMode,
  PodSandboxConfig,
} from "../packages/cri/src/gen/runtime/v1/api.ts";
import type { RequestOf, UnaryCallName } from "../packages/cri/src/service.ts";
import { fixtureDir, readStore, writeFixture } from "../packages/engine/src/testing/store-fixture.ts";
import { reexecInSandbox } from "../packages/testkit/src/host-sandbox.ts";
import { busyboxImage } from "../packages/testkit/src/image.ts";
import { Registry } from "../packages/testkit/src/registry.ts";
import { runtimeBinary } from "../packages/testkit/src/runtime-binary.ts";
import { waitFor } from "../packages/testkit/src/wait.ts";

const [checkout, version] = process.argv.slice(2);
if (checkout === undefined || version === undefined) {
  console.error("usage: bin/node scripts/store-fixture.ts CHECKOUT VERSION");
  process.exit(2);
}
await reexecInSandbox({ net: true });

const dir = fixtureDir;
const root = join(import.meta.dirname, "..");
const shim = runtimeBinary("containerd-shim-runc-v2");
if (shim === undefined) throw new Error("containerd-shim-runc-v2 is missing: `npm run setup` installs it");
mkdirSync(dir, { recursive: true });
chmodSync(dir, 0o711);
await using registry = await Registry.start();
const image = registry.add("library/busybox", "latest", busyboxImage());

/** A tool that hangs from when a test says so, once it is asked for something. */
function writeTool(name: string, program: string, asked: string): string {
  const path = join(dir, "tools", name);
  mkdirSync(join(dir, "tools"), { recursive: true });
  const hang = `[ -e ${dir}/hang-$what ] && touch ${dir}/hangs-$what && exec sleep 600`;
  writeFileSync(path, `#!/bin/sh\nfor what in ${asked}; do ${hang}; done\nexec ${program} "$@"\n`, { mode: 0o755 });
  return path;
}
for (const plugin of ["bridge", "portmap", "host-local"])
  writeTool(plugin, `/usr/lib/cni/${plugin}`, plugin === "bridge" ? "$CNI_COMMAND" : "");
const slow = writeTool("slow", "crun", '"$@"');

mkdirSync(join(dir, "net.d"));
writeFileSync(
  join(dir, "net.d/10-keel.conflist"),
  JSON.stringify({
    cniVersion: "1.0.0",
    name: "keel",
    plugins: [
      {
        type: "bridge",
        bridge: "keel0",
        ipMasq: true,
        isGateway: true,
        ipam: { type: "host-local", subnet: "10.99.0.0/16" },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  }),
);
writeFileSync(
  join(dir, "config.toml"),
  `root = "${dir}/root"
state = "${dir}/state"
socket = "unix://${dir}/k.sock"
default_runtime = "crun"
[cni]
conf_dir = "${dir}/net.d"
bin_dirs = ["${dir}/tools"]
[runtimes.slow]
path = "${slow}"
[runtimes.pod-in-container]
path = "crun"
sandbox = "container"
[runtimes.shim]
type = "shim"
path = "${shim}"
options = { BinaryName = "runc" }
`,
);

const log = openSync(join(dir, "log"), "a");
const daemon = spawn(join(resolve(checkout), "bin/keelsond"), ["--config", join(dir, "config.toml")], {
  stdio: ["ignore", log, log],
});
await waitFor(() => readFileSync(join(dir, "log"), "utf8").includes('"msg":"serving"') || daemon.exitCode !== null, {
  timeoutMs: 60_000,
});
const client = createCriClient(`unix://${dir}/k.sock`);
const call = <N extends UnaryCallName>(name: N, request: RequestOf<N>) =>
  client.call(name, request, AbortSignal.timeout(120_000));
const spec = { image, annotations: {}, userSpecifiedImage: "", runtimeHandler: "", imageRef: "" };
await call("pullImage", { image: spec, auth: undefined, sandboxConfig: undefined });

interface Pod {
  readonly id: string;
  readonly config: PodSandboxConfig;
}

function podConfig(name: string, over: DeepPartial<PodSandboxConfig> = {}): PodSandboxConfig {
  const { linux, ...rest } = over;
  return PodSandboxConfig.fromPartial({
    metadata: { name, uid: `uid-${name}`, namespace: "default", attempt: 0 },
    logDirectory: join(dir, "logs", name),
    labels: { app: name },
    annotations: { "example.com/note": "kept" },
    ...rest,
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } }, ...linux },
  });
}

async function runPod(name: string, over: DeepPartial<PodSandboxConfig> = {}, runtimeHandler = ""): Promise<Pod> {
  const config = podConfig(name, over);
  return { id: (await call("runPodSandbox", { config, runtimeHandler })).podSandboxId, config };
}

async function createContainer(pod: Pod, name: string, over: DeepPartial<ContainerConfig> = {}): Promise<string> {
  const config = ContainerConfig.fromPartial({
    metadata: { name, attempt: 0 },
    image: { image },
    command: ["sh", "-c", "while :; do sleep 1; done"],
    logPath: `${name}.log`,
    ...over,
  });
  return (await call("createContainer", { podSandboxId: pod.id, config, sandboxConfig: pod.config })).containerId;
}

async function runContainer(pod: Pod, name: string, over: DeepPartial<ContainerConfig> = {}): Promise<string> {
  const containerId = await createContainer(pod, name, over);
  await call("startContainer", { containerId });
  return containerId;
}

const stateOf = async (containerId: string) =>
  (await call("containerStatus", { containerId, verbose: false })).status!.reason;
const namespaces = (options: DeepPartial<PodSandboxConfig["linux"] & object>["securityContext"]) => ({
  linux: { securityContext: options },
});
const resources = (memory: bigint) => ({ memoryLimitInBytes: memory, cpuShares: 512n });

const plain = await runPod("plain", {
  hostname: "plain",
  portMappings: [{ protocol: 0, containerPort: 80, hostPort: 18_080, hostIp: "" }],
  dnsConfig: { servers: ["10.0.0.10"], searches: ["svc"], options: ["ndots:5"] },
  linux: { sysctls: { "net.ipv4.ip_local_port_range": "2000 3000" }, resources: resources(2n ** 30n) },
});
await createContainer(plain, "created");
await runContainer(plain, "running", { envs: [{ key: "K", value: Buffer.from("v") }] });
const ended = [
  await runContainer(plain, "completed", { command: ["true"] }),
  await runContainer(plain, "failed", { command: ["sh", "-c", "exit 3"] }),
];
await runContainer(plain, "image-volume", { mounts: [{ containerPath: "/models", readonly: true, image: spec }] });
const updated = await runContainer(plain, "updated", { linux: { resources: resources(2n ** 28n) } });
const limits = { ...ContainerConfig.fromPartial({ linux: { resources: resources(2n ** 29n) } }).linux!.resources! };
await call("updateContainerResources", { containerId: updated, linux: limits, windows: undefined, annotations: {} });
await call("updatePodSandboxResources", { podSandboxId: plain.id, overhead: limits, resources: limits });

const sharedPid = await runPod("shared-pid", namespaces({ namespaceOptions: { pid: NamespaceMode.POD } }));
await runContainer(sharedPid, "in-shared-pid");
const mapping = [{ containerId: 0, hostId: 200_000, length: 65_536 }];
const userns = { mode: NamespaceMode.POD, uids: mapping, gids: mapping };
const mapped = await runPod(
  "user-namespace",
  namespaces({ namespaceOptions: { pid: NamespaceMode.CONTAINER, usernsOptions: userns } }),
);
await runContainer(mapped, "in-user-namespace");
const { NODE } = NamespaceMode;
const host = await runPod("host", namespaces({ namespaceOptions: { network: NODE, pid: NODE, ipc: NODE } }));
await runContainer(host, "in-host");
await runContainer(await runPod("in-container", {}, "pod-in-container"), "in-pod-in-container");

const stopped = await runPod("stopped");
ended.push(await runContainer(stopped, "in-stopped"));
await call("stopPodSandbox", { podSandboxId: stopped.id });

const lost = await runContainer(await runPod("lost-shim", {}, "shim"), "unknown");
const status = await call("containerStatus", { containerId: lost, verbose: true });
const { pid } = JSON.parse(status.info["info"]!) as { pid: number };
const parent = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
process.kill(parent, "SIGKILL");
await waitFor(async () => (await stateOf(lost)) === "Unknown", { timeoutMs: 30_000 });
for (const id of ended) await waitFor(async () => (await stateOf(id)) !== "", { timeoutMs: 30_000 });

// What the daemon is in the middle of when it is killed.
const stopping = await runPod("stopping");
const slowPod = await runPod("slow", {}, "slow");
const resizing = await runContainer(await runPod("resizing", {}, "slow"), "resizing", {
  linux: { resources: resources(2n ** 28n) },
});
for (const what of ["ADD", "DEL", "create", "update"]) writeFileSync(join(dir, `hang-${what}`), "");
const underWay: Promise<unknown>[] = [
  runPod("creating"),
  call("stopPodSandbox", { podSandboxId: stopping.id }),
  createContainer(slowPod, "creating"),
  call("updateContainerResources", { containerId: resizing, linux: limits, windows: undefined, annotations: {} }),
];
await waitFor(() => ["ADD", "DEL", "create", "update"].every((what) => existsSync(join(dir, `hangs-${what}`))), {
  timeoutMs: 60_000,
});
daemon.kill("SIGKILL");
await Promise.allSettled(underWay);
client.close();

const target = join(root, "packages/engine/testdata", `store-${version}`);
rmSync(target, { recursive: true, force: true });
writeFixture(target, readStore(join(dir, "root/state.db")), dir);
console.log(`made ${target}`);
