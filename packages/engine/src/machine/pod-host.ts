import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import {
  cgroupDirs,
  type CgroupLayout,
  createCgroup,
  denyDevices,
  killCgroup,
  removeCgroup,
} from "@keelson/linux/cgroup.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { statfs } from "@keelson/linux/file.ts";
import { makeDirectories } from "@keelson/linux/make-directories.ts";
import { bindMount, mount, MS, unmountAllUnder } from "@keelson/linux/mount.ts";
import {
  createNamespacesAsync,
  namespaceId,
  setNetworkSysctls,
  unpinNamespaceAsync,
} from "@keelson/linux/namespace.ts";
import { podInitProgram, startPodInit } from "@keelson/linux/pod-init.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { signalProcess, watchProcess } from "@keelson/linux/process.ts";
import { isProcessAlive, processStartTicks, readCgroup, readProcesses, readStatus } from "@keelson/linux/procfs.ts";
import { moveToScope, stopUnit } from "@keelson/linux/systemd.ts";
import { removeTreeAsync } from "@keelson/linux/tree.ts";
import { planPodCgroup, planSandboxCgroup, type PodCgroup } from "@keelson/plan/cgroup-path.ts";
import { quote } from "@keelson/plan/field-check.ts";
import { hostnameFile, hostsFile } from "@keelson/plan/pod-files.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import { isOfInterface, type SysctlPlan } from "@keelson/plan/sysctls.ts";
import { hostRootOf, nobodyOf } from "@keelson/plan/user-namespace.ts";
import { etcFiles, podFiles, sandboxBundle } from "../records/pod-files.ts";

/** What a pod needs from the machine, apart from its network. Unit tests use a fake. */
export interface PodHost {
  /** Makes the pod's directory with its namespaces, files and /dev/shm. */
  create(plan: PodPlan): Promise<void>;
  /** Starts the init of a pod that shares its PID namespace. */
  startInit(plan: PodPlan): Promise<ProcessIdentity>;
  /**
   * Makes the root file system of the container that is a pod's sandbox, in that container's bundle. Returns its path.
   */
  makeSandboxRootfs(plan: PodPlan): Promise<string>;
  /** Writes the pod's sysctls that name an interface, which the attached network has made. */
  setInterfaceSysctls(plan: PodPlan): Promise<void>;
  /** Writes /etc/hosts, for which the pod's addresses must be known. */
  writeHosts(plan: PodPlan, ips: readonly string[]): Promise<void>;
  /** Calls back once, later, when the init has ended. */
  watch(init: ProcessIdentity, onEnd: () => void): Disposable;
  /** Whether the pod is as `create` left it. */
  isIntact(plan: PodPlan, init: ProcessIdentity | undefined): boolean;
  /** Takes down whatever exists of all that. May be repeated. */
  destroy(plan: PodPlan, init: ProcessIdentity | undefined, signal: AbortSignal): Promise<void>;
  /** Takes down the directory of a pod without a record, with what is pinned and mounted in it. */
  destroyUnknown(id: string): Promise<void>;
}

export class LinuxPodHost implements PodHost {
  readonly #dirOf: (id: string) => string;
  readonly #cgroups: CgroupLayout;

  /** @param dirOf the directory of a pod by its id. */
  constructor(dirOf: (id: string) => string, cgroups: CgroupLayout) {
    this.#dirOf = dirOf;
    this.#cgroups = cgroups;
  }

  async create(plan: PodPlan): Promise<void> {
    const dir = this.#dirOf(plan.id);
    const files = podFiles(dir);
    makeDirectories(dir, 0o700);
    await createPodNamespaces(plan, files);
    mountEtc(files.etc, plan);
    const { hostname, resolvConf } = etcFiles(dir);
    writeText(hostname, hostnameFile(plan.hostname));
    writeResolvConf(plan, resolvConf);
    giveToRoot(plan, hostname, resolvConf);
    if (plan.ipc === "own") mountShm(files.shm, plan);
    if (plan.userNamespace !== undefined && plan.network === "host") bindSysfs(files.sysfs);
  }

  async startInit(plan: PodPlan): Promise<ProcessIdentity> {
    const files = podFiles(this.#dirOf(plan.id));
    const cgroup = planSandboxCgroup(plan);
    const { slice } = plan.cgroup;
    if (slice === undefined) {
      createCgroup(this.#cgroups, cgroup.path);
      denyDevices(this.#cgroups, cgroup.path);
    }
    const { pid, startTicks } = await startPodInit({
      podId: plan.id,
      ...(slice === undefined ? { cgroups: cgroupDirs(this.#cgroups, cgroup.path) } : {}),
      pin: files.pidns,
      ...(plan.userNamespace === undefined ? {} : { userns: files.userns, nobody: nobodyOf(plan.userNamespace) }),
      // The last to be killed when memory runs out: all containers of the pod end with it.
      oomScoreAdj: -998,
      ...(plan.network === "own" ? { netns: files.netns } : {}),
      ...(plan.ipc === "own" ? { ipcns: files.ipcns } : {}),
      ...(plan.uts === "own" ? { utsns: files.utsns } : {}),
    });
    if (slice !== undefined) await moveInitToScope({ pid, startTicks }, plan, slice);
    return { pid, startTicks };
  }

  async setInterfaceSysctls(plan: PodPlan): Promise<void> {
    const sysctls = plan.sysctls.filter(isOfInterface);
    if (sysctls.length === 0) return;
    try {
      await setNetworkSysctls(podFiles(this.#dirOf(plan.id)).netns, valuesOf(sysctls));
    } catch (error) {
      throw sysctlProblem(plan, error) ?? wrapError("set the sysctls of the pod's interfaces", error);
    }
  }

  makeSandboxRootfs(plan: PodPlan): Promise<string> {
    const dir = this.#dirOf(plan.id);
    const bundle = sandboxBundle(dir, plan.id);
    const rootfs = join(bundle, "rootfs");
    for (const name of ["proc", "dev", "etc"]) makeDirectories(join(rootfs, name), 0o755);
    if (plan.userNamespace !== undefined) letThrough(plan, dir, dirname(bundle), bundle);
    // Runtimes make these, but not every runtime does so in a read-only root.
    for (const file of ["hostname", "resolv.conf"]) writeText(join(rootfs, "etc", file), "");
    const program = join(rootfs, "hold");
    namingFile(program, () => copyFileSync(podInitProgram(), program));
    chmodSync(program, 0o755);
    return Promise.resolve(rootfs);
  }

  writeHosts(plan: PodPlan, ips: readonly string[]): Promise<void> {
    const hostNetwork = plan.network === "host";
    const hostHosts = hostNetwork ? { hostHosts: readFileSync("/etc/hosts", "utf8") } : {};
    const text = hostsFile({ hostname: plan.hostname, ips, hostNetwork, ...hostHosts });
    const { hosts } = etcFiles(this.#dirOf(plan.id));
    writeText(hosts, text);
    giveToRoot(plan, hosts);
    return Promise.resolve();
  }

  watch({ pid, startTicks }: ProcessIdentity, onEnd: () => void): Disposable {
    return watchProcess(pid, startTicks, onEnd);
  }

  isIntact(plan: PodPlan, init: ProcessIdentity | undefined): boolean {
    const files = podFiles(this.#dirOf(plan.id));
    if (init !== undefined && !isProcessAlive(init.pid, init.startTicks)) return false;
    if (plan.userNamespace !== undefined && !isNamespace(files.userns)) return false;
    return plan.network === "host" || isNamespace(files.netns);
  }

  async destroy(plan: PodPlan, init: ProcessIdentity | undefined, signal: AbortSignal): Promise<void> {
    // An init that was started but not recorded before a crash is found by its pin, or by its cgroup below.
    if (init !== undefined) await killInit(init, signal);
    else await this.#killPinnedInit(plan.id);
    await this.#removeFiles(plan.id);
    if (plan.pid === "pod" || plan.sandbox === "container") {
      await killCgroup(this.#cgroups, planSandboxCgroup(plan).path, {}, signal);
      await removeCgroup(this.#cgroups, planSandboxCgroup(plan).path, {}, signal);
    }
    if (plan.cgroup.own) await this.#removeOwnCgroup(plan.cgroup, signal);
  }

  async destroyUnknown(id: string): Promise<void> {
    const signal = AbortSignal.timeout(10_000);
    await this.#killPinnedInit(id);
    await this.#removeFiles(id);
    for (const driver of ["cgroupfs", "systemd"] as const) {
      const cgroup = planPodCgroup("", driver, id);
      await killCgroup(this.#cgroups, cgroup.path, {}, signal);
      // On a machine without systemd there is no slice either.
      if (cgroupDirs(this.#cgroups, cgroup.path).some((dir) => existsSync(dir)))
        await this.#removeOwnCgroup(cgroup, signal);
    }
  }

  /**
   * Removes the cgroup of a pod without a cgroup_parent. A slice belongs to systemd, which would list it forever if
   * only its directories went.
   */
  async #removeOwnCgroup({ path, slice }: PodCgroup, signal: AbortSignal): Promise<void> {
    if (slice !== undefined) await stopUnit(slice, signal);
    await removeCgroup(this.#cgroups, path, {}, signal);
  }

  async #removeFiles(id: string): Promise<void> {
    const dir = this.#dirOf(id);
    const files = podFiles(dir);
    for (const pin of [files.userns, files.netns, files.ipcns, files.utsns, files.pidns])
      await unpinNamespaceAsync(pin);
    await unmountAllUnder(dir);
    await removeTreeAsync(dir);
  }

  /** A pod without a record may still have an init: its pin leads to it, and it leads to its cgroup. */
  async #killPinnedInit(id: string): Promise<void> {
    const pid = initOf(podFiles(this.#dirOf(id)).pidns);
    if (pid === undefined) return;
    const startTicks = processStartTicks(pid);
    const paths = new Set((readCgroup(pid) ?? []).map((c) => c.path).filter((path) => path.includes(`init-${id}`)));
    const signal = AbortSignal.timeout(10_000);
    if (startTicks !== null) await killInit({ pid, startTicks }, signal);
    for (const path of paths) await removeCgroup(this.#cgroups, path, {}, signal);
  }
}

/** The first process of a pinned PID namespace; undefined when none is left. */
function initOf(pin: string): number | undefined {
  const id = isNamespace(pin) ? namespaceId(pin) : null;
  if (id === null) return undefined;
  const members = readProcesses()
    .map((p) => p.pid)
    .filter((pid) => namespaceId(`/proc/${pid}/ns/pid`) === id);
  // It has pid 1 inside; processes that joined have not.
  return members.find((pid) => readStatus(pid)?.pids.at(-1) === 1);
}

async function createPodNamespaces(plan: PodPlan, files: ReturnType<typeof podFiles>): Promise<void> {
  if (plan.userNamespace === undefined && plan.network === "host" && plan.ipc === "host" && plan.uts === "host") return;
  try {
    await createNamespacesAsync({
      ...(plan.userNamespace === undefined ? {} : { user: { pin: files.userns, ...plan.userNamespace } }),
      ...(plan.network === "own" ? { net: files.netns, loopbackUp: true } : {}),
      ...(plan.ipc === "own" ? { ipc: files.ipcns } : {}),
      ...(plan.uts === "own" ? { uts: files.utsns, hostname: plan.hostname } : {}),
      sysctls: valuesOf(plan.sysctls.filter((sysctl) => !isOfInterface(sysctl))),
    });
  } catch (error) {
    throw sysctlProblem(plan, error) ?? wrapError("create the pod's namespaces", error);
  }
}

function valuesOf(sysctls: readonly SysctlPlan[]): Record<string, string> {
  return Object.fromEntries(sysctls.map(({ name, value }) => [name, value]));
}

/** Undefined when it was no sysctl that the pod asks for wrongly. */
function sysctlProblem({ sysctls }: PodPlan, error: unknown): StatusError | undefined {
  if (!isErrno(error, "ENOENT", "EINVAL", "ERANGE")) return undefined;
  const sysctl = sysctls.find(({ file }) => error.path === `/proc/sys/${file}`);
  if (sysctl === undefined) return undefined;
  const missing = isOfInterface(sysctl)
    ? "the pod's network has no such interface, or the interface no such setting"
    : "this kernel has no such setting for a pod";
  const what = error.code === "ENOENT" ? missing : `the kernel refuses the value ${quote(sysctl.value)}`;
  return new StatusError(Code.InvalidArgument, `linux.sysctls[${sysctl.name}]: ${what}`, error);
}

/** Without a DNS config, and in the host's network, the host's own resolver settings. */
function writeResolvConf(plan: PodPlan, path: string): void {
  if (plan.resolvConf !== undefined) {
    writeText(path, plan.resolvConf);
    return;
  }
  try {
    copyFileSync("/etc/resolv.conf", path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    writeText(path, "");
  }
}

/** Files that the pod's containers may write belong to their root user. */
function giveToRoot({ userNamespace }: PodPlan, ...paths: string[]): void {
  const { uid, gid } = hostRootOf(userNamespace);
  for (const path of paths) chownSync(path, uid, gid);
}

/**
 * Opens directories to the root user of the pod's user namespace, as whom the runtime looks up the root file system.
 */
function letThrough({ userNamespace }: PodPlan, ...dirs: string[]): void {
  const { gid } = hostRootOf(userNamespace);
  for (const dir of dirs) {
    chownSync(dir, 0, gid);
    chmodSync(dir, 0o710);
  }
}

/** Leaves out mounts in it, such as debugfs: a mount namespace of a user namespace could not unmount them. */
function bindSysfs(target: string): void {
  mkdirSync(target, { mode: 0o755 });
  bindMount("/sys", target, { readonly: true, propagation: "private" });
}

/** Room for what containers add to their pod's files, such as names in /etc/hosts, in bytes. */
const etcRoomBytes = 1024 * 1024;

/** A file system of its own: what a container writes to these files fills that, and not the node's /run. */
function mountEtc(target: string, { resolvConf = "" }: PodPlan): void {
  mkdirSync(target, { mode: 0o755 });
  const sizeBytes = etcRoomBytes + sizeOf("/etc/hosts") + sizeOf("/etc/resolv.conf") + Buffer.byteLength(resolvConf);
  mount({
    source: "etc",
    target,
    fstype: "tmpfs",
    flags: MS.NOSUID | MS.NODEV | MS.NOEXEC,
    data: `mode=755,size=${sizeBytes},nr_inodes=16`,
  });
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function mountShm(target: string, { shmSizeBytes, userNamespace }: PodPlan): void {
  mkdirSync(target, { mode: 0o1777 });
  const { uid, gid } = hostRootOf(userNamespace);
  mount({
    source: "shm",
    target,
    fstype: "tmpfs",
    flags: MS.NOSUID | MS.NODEV | MS.NOEXEC,
    data: `mode=1777,size=${shmSizeBytes},uid=${uid},gid=${gid}`,
  });
}

/** How long systemd may take for a scope. */
const scopeTimeoutMs = 20_000;

/** What statfs(2) says of namespace files. */
const nsfsMagic = 0x6e736673n;

/** A pin that lost its mount is a plain file. */
function isNamespace(pin: string): boolean {
  try {
    return statfs(pin).type === nsfsMagic;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}

/** If systemd does not take the init, it must be ended here. */
async function moveInitToScope(init: ProcessIdentity, plan: PodPlan, slice: string): Promise<void> {
  const scope = planSandboxCgroup(plan).path.split("/").at(-1)!;
  try {
    await moveToScope(init.pid, scope, slice, AbortSignal.timeout(scopeTimeoutMs));
  } catch (error) {
    await killInit(init, AbortSignal.timeout(scopeTimeoutMs));
    throw wrapError("put the pod's init into its cgroup", error);
  }
}

/** SIGKILL ends the init and every process in its PID namespace. Its end is seen even before it is reaped. */
async function killInit({ pid, startTicks }: ProcessIdentity, signal: AbortSignal): Promise<void> {
  const ended = Promise.withResolvers<void>();
  using _ = watchProcess(pid, startTicks, ended.resolve);
  signal.addEventListener("abort", () => ended.reject(signal.reason as Error), { once: true });
  signalProcess(pid, startTicks, 9);
  await ended.promise;
}

function writeText(path: string, text: string): void {
  namingFile(path, () => writeFileSync(path, text, { mode: 0o644 }));
}
