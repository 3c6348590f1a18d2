import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Container,
  ContainerState,
  NamespaceMode,
  type PodSandbox,
  PodSandboxState,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { CrashNode } from "./crash-node.ts";

const idPattern = /[0-9a-f]{64}/;
const idsPattern = /[0-9a-f]{64}/g;

/** A thing of a kind that is there, and whose it is. */
type Found = readonly [kind: string, id: string];

/**
 * Where what is really there differs from what the daemon lists, a sentence for each: pods that are READY and containers
 * that are CREATED or RUNNING have all that belongs to them, and nobody else has anything. Waits up to `settleMs` for
 * what is done in the background.
 */
export async function disagreements(crash: CrashNode, settleMs = 3000): Promise<string[]> {
  const deadline = performance.now() + settleMs;
  for (;;) {
    const wrong = await look(crash);
    if (wrong.length === 0 || performance.now() >= deadline) return wrong;
    await sleep(20);
  }
}

async function look(crash: CrashNode): Promise<string[]> {
  const { items: pods } = await crash.call("listPodSandbox", { filter: undefined });
  const { containers } = await crash.call("listContainers", { filter: undefined });
  const { images } = await crash.call("listImages", { filter: undefined });
  const wanted = await whatShouldBe(crash, pods, containers);
  const found = whatIs(
    crash,
    images.reduce((sum, image) => sum + (crash.layers.get(image.id) ?? 1), 0),
  );
  const keys = new Map(found.map((thing) => [thing.join(" "), thing]));
  return [
    ...[...keys.keys()].filter((key) => !wanted.must.has(key) && !wanted.may.has(key)).map((key) => `there is ${key}`),
    ...[...wanted.must].filter((key) => !keys.has(key)).map((key) => `there is no ${key}`),
  ];
}

async function whatShouldBe(crash: CrashNode, pods: readonly PodSandbox[], containers: readonly Container[]) {
  const must = new Set<string>();
  const may = new Set<string>();
  for (const { id, state } of pods) {
    if (state !== PodSandboxState.SANDBOX_READY) continue;
    const { network, pid, ipc, usernsOptions } = (await crash.podStatus(id)).linux!.namespaces!.options!;
    for (const kind of ["directory state/pods", "mount etc", "mount utsns"]) must.add(`${kind} ${id}`);
    if (ipc === NamespaceMode.POD) for (const kind of ["mount ipcns", "mount shm"]) must.add(`${kind} ${id}`);
    if (crash.sandbox === "container") for (const kind of containerKinds(crash)) must.add(`${kind} ${id}`);
    else if (pid === NamespaceMode.POD)
      for (const kind of ["mount pidns", "process keelson-pod-init"]) must.add(`${kind} ${id}`);
    const hasUserns = usernsOptions?.mode === NamespaceMode.POD;
    if (hasUserns) must.add(`mount userns ${id}`);
    if (hasUserns && network !== NamespaceMode.POD) must.add(`mount sysfs ${id}`);
    may.add(`cgroup of ${id}`);
    if (network !== NamespaceMode.POD) {
      must.delete(`mount utsns ${id}`);
      continue;
    }
    for (const kind of ["mount netns", "address", "network cache", "firewall rules"]) must.add(`${kind} ${id}`);
  }
  for (const { id, state } of containers) {
    const files = ["directory state/containers", "directory root/containers", "mount rootfs"];
    if (state === ContainerState.CONTAINER_EXITED) {
      // The removal may have got as far as to the record.
      for (const kind of [...files, "exit file", "process shim"]) may.add(`${kind} ${id}`);
      continue;
    }
    const mounted = new Set((await crash.containerStatus(id)).mounts.flatMap((mount) => mount.image?.image || []));
    for (const kind of [...files, ...[...mounted.keys()].map((_, i) => `mount ${i}`)]) must.add(`${kind} ${id}`);
    for (const kind of containerKinds(crash)) must.add(`${kind} ${id}`);
    const { pid } = await crash.containerInfo(id);
    // In a sandbox it is none of the machine's.
    if (pid === 0) continue;
    if (!existsSync(`/proc/${pid}`) || !readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(id))
      must.add(`process ${pid} of ${id}`);
  }
  const attached = [...must].filter((key) => key.startsWith("address ")).length;
  must.add(`interfaces of pods: ${attached} `);
  must.add("layers as images have them ");
  return { must, may };
}

/** What there is of every container that has not ended. */
function containerKinds(crash: CrashNode): string[] {
  const monitors = isShim(crash.runtime) ? ["process shim", "process keelson-streams"] : ["process conmon"];
  return ["cgroup of", `state of ${crash.runtime}`, ...monitors, "process of"];
}

function isShim(runtime: string): boolean {
  return runtime.startsWith("shim-");
}

function whatIs(crash: CrashNode, layers: number): Found[] {
  const { dir } = crash.node;
  const names = (path: string) => (existsSync(join(dir, path)) ? readdirSync(join(dir, path)) : []);
  const veths = readdirSync("/sys/class/net").filter((name) => name.startsWith("veth")).length;
  const unpacked = names("root/layers").filter((name) => name !== "empty");
  return [
    ...["state/pods", "state/containers", "root/containers"].flatMap((path) =>
      names(path).map((id) => [`directory ${path}`, id] as const),
    ),
    ...names("state/exits").map((id) => ["exit file", id] as const),
    // A shim has a directory for each namespace, and we have one of these.
    ...names("state/runtimes").flatMap((runtime) =>
      names(`state/runtimes/${runtime}${isShim(runtime) ? "/keelson" : ""}`)
        .flatMap((name) => idInState(runtime, name))
        .map((id) => [`state of ${runtime}`, id] as const),
    ),
    ...names("root/cni/results").map(
      (name) => ["network cache", /^keel-([0-9a-f]{64})-eth0$/.exec(name)?.[1] ?? name] as const,
    ),
    ...names("root")
      .filter((name) => !/^(blobs|cni|containers|layers|lock|reserve|state\.db(-wal|-shm)?)$/.test(name))
      .map((name) => ["unknown", `root/${name}`] as const),
    ...unpacked.filter((name) => name.startsWith(".")).map((name) => ["temporary layer", name] as const),
    unpacked.length === layers
      ? ["layers as images have them", ""]
      : ["layers", `${unpacked.join(", ")}, not ${layers}`],
    // When they are kept: of each layer once.
    ...(existsSync(join(dir, "root/blobs"))
      ? names("root/blobs/sha256").length === layers
        ? []
        : [["blobs", `${names("root/blobs/sha256").length}, not ${layers}`] as const]
      : []),
    [`interfaces of pods: ${veths}`, ""],
    ...mounts(dir),
    ...addresses(),
    ...firewallRules(),
    ...cgroups("/sys/fs/cgroup", 0),
    ...processes(crash),
  ];
}

/** gVisor has files for a container, named after it and its sandbox, and a socket for each sandbox. */
function idInState(runtime: string, name: string): string[] {
  if (runtime !== "runsc") return [name];
  return name.endsWith(".state") ? [idPattern.exec(name)?.[0] ?? name] : [];
}

function mounts(dir: string): Found[] {
  const targets = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "");
  return targets
    .filter((target) => target.startsWith(`${dir}/`))
    .map((target) => [`mount ${basename(target)}`, idPattern.exec(target)?.[0] ?? target] as const);
}

/** host-local has a file for each address, with the id of who has it. */
function addresses(): Found[] {
  const dir = "/var/lib/cni/networks/keel";
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => /^[\d.]+$/.test(name))
    .map((name) => ["address", readFileSync(join(dir, name), "utf8").split(/\s/)[0]!] as const);
}

function firewallRules(): Found[] {
  const text = execFileSync("iptables-save", ["-t", "nat"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const ids = new Set(text.match(idsPattern) ?? []);
  // Each pod's masquerading has a chain of its own, which outlives the rule that names the pod when that goes alone.
  const chains = (text.match(/^:CNI-[0-9a-f]{24} /gm) ?? []).length;
  return [
    ...[...ids].map((id) => ["firewall rules", id] as const),
    ...(chains === ids.size ? [] : [["firewall chains", `${chains} for ${ids.size} pods`] as const]),
  ];
}

function cgroups(dir: string, depth: number): Found[] {
  const below = readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  const ids = below.flatMap((name) => idPattern.exec(name)?.[0] ?? []).map((id) => ["cgroup of", id] as const);
  return [...ids, ...(depth < 2 ? below.flatMap((name) => cgroups(join(dir, name), depth + 1)) : [])];
}

function processes(crash: CrashNode): Found[] {
  const ours = new Set([process.pid, 1, ...crash.daemonPids]);
  for (let pid = process.ppid; pid > 1; pid = parentOf(pid)) ours.add(pid);
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && !ours.has(Number(name)))
    .flatMap((name): Found[] => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
        const cgroup = readFileSync(`/proc/${name}/cgroup`, "utf8");
        // One of a container's is its own to reap, and one that ended with its daemon is gone in a moment.
        if (/^State:\tZ/m.test(readFileSync(`/proc/${name}/status`, "utf8")))
          return crash.daemonPids.includes(parentOf(Number(name))) ? [["zombie", name]] : [];
        if (command[0]!.endsWith("/conmon"))
          return [["process conmon", command[command.indexOf("--cid") + 1]!] as const];
        if (command[0]!.endsWith("/containerd-shim-runc-v2"))
          return containersOfShim(crash, Number(name)).map((id) => ["process shim", id] as const);
        if (command[0] === "keelson-streams")
          return [["process keelson-streams", idPattern.exec(readlinkSync(`/proc/${name}/cwd`))?.[0] ?? ""] as const];
        if (command[0] === "keelson-pod-init") return [["process keelson-pod-init", command[1]!] as const];
        // Those of a container in a sandbox are in the sandbox's cgroup.
        if (command[0]!.endsWith("/gvisor-stand-in")) return [["process of", command.at(-2)!] as const];
        const bundle = command.find((arg) => command[0] === "runsc-gofer" && arg.startsWith("--bundle="));
        if (bundle !== undefined)
          return [["process of", idPattern.exec(bundle.slice(bundle.lastIndexOf("/")))?.[0] ?? bundle] as const];
        const id = cgroup.match(idsPattern)?.at(-1);
        if (id === undefined) return [["process", command.join(" ")] as const];
        return [["process of", id] as const];
      } catch {
        return []; // it has just ended
      }
    });
}

/** By what is written in their bundles; a word of its own for a shim that none has. */
function containersOfShim(crash: CrashNode, pid: number): string[] {
  const dir = join(crash.node.dir, "state/containers");
  const ids = readdirSync(dir).filter((id) => {
    const file = join(dir, id, "shim.json");
    return (
      existsSync(file) && (JSON.parse(readFileSync(file, "utf8")) as { identity: { pid: number } }).identity.pid === pid
    );
  });
  return ids.length === 0 ? [`${pid} of no container`] : ids;
}

function parentOf(pid: number): number {
  return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}
