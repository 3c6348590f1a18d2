import {
  chmodSync,
  chownSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { allDone } from "@keelson/base/all-done.ts";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { bindSource } from "@keelson/linux/bind-source.ts";
import {
  type CgroupLayout,
  cgroupProcs,
  controllerDir,
  killCgroup,
  removeCgroup,
  thawCgroup,
} from "@keelson/linux/cgroup.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { mknod } from "@keelson/linux/file.ts";
import { readOomKills } from "@keelson/linux/kernel-log.ts";
import { BeneathLooker } from "@keelson/linux/look-beneath.ts";
import { makeDirectories } from "@keelson/linux/make-directories.ts";
import { memoryPressure, memoryWorkingSet } from "@keelson/linux/memory-cgroup.ts";
import {
  mount as mountFs,
  type MountInfo,
  MS,
  type Propagation,
  readMounts,
  unmountAllUnder,
  unmountAsync,
} from "@keelson/linux/mount.ts";
import { mountOverlayAsync } from "@keelson/linux/overlay.ts";
import { findPlaces, type Place } from "@keelson/linux/place.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import { removeTreeAsync } from "@keelson/linux/tree.ts";
import type { DeviceSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { LimitFile } from "@keelson/plan/resource-update.ts";
import { specFile } from "@keelson/runtimes/runtime-paths.ts";
import { CommandCheck } from "./command-check.ts";
import type { CommandProblem } from "./command-problem.ts";
import { fillVolume, type VolumeContent } from "./fill-volume.ts";
import { AnswerTime, HostPaths } from "./host-paths.ts";
import { cannotMap, type IdMap, letIn, makeMountPoint, mappedIds, MappedLayers, UserNamespacePin } from "./id-map.ts";
import type { OomReport } from "./out-of-memory.ts";
import { relabel } from "./relabel.ts";

/** How the files of an image look in a container. */
interface ImageLook {
  /** The SELinux label of all its files. */
  readonly label: string | undefined;
  /** Of the pod's user namespace. */
  readonly idMap: IdMap | undefined;
}

/** How a mount's source differs from what it is bound from. */
export interface SourceOptions {
  readonly isDirectory: boolean;
  /** Includes the mounts below it. */
  readonly recursive: boolean;
  readonly propagation: Propagation;
  /** Read-only with all mounts below it: mount_setattr(2). */
  readonly recursiveReadOnly: boolean;
  readonly idMap: IdMap | undefined;
}

/** What a container needs from the machine, apart from its runtime. Unit tests use a fake. */
export interface ContainerHost {
  /** Where absolute paths of the machine lead, which may hang; see HostPaths. */
  resolveHostPaths: HostPaths["resolve"];
  /** Looks at the machine's files in a process of its own until it is disposed of. Questions reject with the signal. */
  lookAtFiles(signal: AbortSignal): Pick<BeneathLooker, "look" | "read" | "list"> & Disposable;
  /** Where paths lead in the root of a container that has not started, or of an image; see linux/src/place.ts. */
  findPlaces(root: string, paths: readonly string[]): Promise<(Place | undefined)[]>;
  /**
   * Makes the bundle directory and mounts the root file system in it; `layerDirs` begin with the uppermost layer.
   * Returns its path.
   */
  mountRootfs(id: string, layerDirs: readonly string[], look: ImageLook): Promise<string>;
  /** Mounts an image in the bundle, read-only; `layerDirs` begin with the uppermost layer. Returns its path. */
  mountImage(id: string, name: string, layerDirs: readonly string[], look: ImageLook): Promise<string>;
  /** Binds a file or directory in the bundle, in ways that not every runtime knows. Returns its path. */
  bindSource(id: string, name: string, source: string, options: SourceOptions, signal: AbortSignal): Promise<string>;
  /** Makes device nodes in the bundle with the owners that they have in a user namespace. Returns their paths. */
  makeDevices(id: string, devices: readonly DeviceSpec[], idMap: IdMap): string[];
  /** Removes what bindSource and makeDevices made: once the container is created, it has its own mounts. */
  unbindSources(id: string): Promise<void>;
  /**
   * Makes a volume beside the writable layer, with the content of `content.path` in `content.rootfs`. Returns its path.
   */
  makeVolume(id: string, name: string, content: VolumeContent, signal: AbortSignal): Promise<string>;
  /** Keeps the container's first process, as the model for commands that are run in it later. */
  writeProcess(id: string, process: ProcessSpec): void;
  readProcess(id: string): ProcessSpec;
  /** The spec that the runtime was given; undefined when there is none (any more). */
  readSpec(id: string): Spec | undefined;
  /** Sets the SELinux label of files, and of directories with everything in them. */
  relabel(paths: readonly string[], label: string, signal: AbortSignal): Promise<void>;
  /**
   * Why a container's command, or another process in it, cannot be executed; undefined when it looks right or cannot be
   * seen, which includes a volume that does not answer.
   */
  commandProblem(id: string, other?: ProcessSpec): Promise<CommandProblem | undefined>;
  /** Kills everything in the container's cgroup. */
  kill(cgroupPath: string, signal: AbortSignal): Promise<void>;
  /** Lets a container go on that was frozen to be killed, when that kill was cut off. */
  thaw(cgroupPath: string): void;
  /** Bytes that the container holds and cannot give back at once; undefined when they are not counted. */
  memoryInUse(cgroupPath: string): number | undefined;
  /** Writes limits to the files of the container's cgroup. */
  writeLimits(cgroupPath: string, files: readonly LimitFile[]): void;
  /** Gives the score to the processes that have one of the earlier scores. */
  setOomScoreAdj(cgroupPath: string, earlier: ReadonlySet<number>, score: number): void;
  /**
   * What the kernel's OOM killer did in an ended container; undefined when nothing. `isSuspected`: whether the way it
   * ended suggests that it did.
   */
  outOfMemory(cgroupPath: string, isSuspected: boolean): OomReport | undefined;
  /** Unmounts the root file system of a container that has ended, unless it is in use. May be repeated. */
  unmountRootfs(id: string): Promise<void>;
  /** Takes down whatever exists of its mounts, directories and cgroup. May be repeated. */
  destroy(id: string, cgroupPath: string, signal: AbortSignal): Promise<void>;
  /** The same for a container without a record, except for the cgroup. */
  destroyUnknown(id: string): Promise<void>;
}

/** The upper directory is the container's root directory: it must look like the image's. */
function makeUpperDir(upperDir: string, topLayerDir: string, idMap: IdMap | undefined): void {
  const { mode, uid, gid } = statSync(topLayerDir);
  makeDirectories(upperDir, 0o755);
  const owner = idMap === undefined ? { uid, gid } : mappedIds({ uid, gid }, idMap);
  chownSync(upperDir, owner.uid, owner.gid);
  chmodSync(upperDir, mode & 0o7777);
}

/**
 * Whether program formats other than the kernel's own are registered: binfmt_misc (binfmt-misc.rst). Where systemd
 * mounts it on first access and nobody has accessed it, there are none, and looking would wait for systemd.
 */
function hasOtherFormats(mounts: readonly MountInfo[]): boolean {
  const mount = mounts.findLast((m) => m.fstype === "binfmt_misc");
  if (mount === undefined) return false;
  try {
    return readdirSync(mount.target).some((name) => name !== "register" && name !== "status");
  } catch {
    // Not known, so no program's format can be called unknown.
    return true;
  }
}

function replaceOomScoreAdj(pid: number, earlier: ReadonlySet<number>, score: number): void {
  const file = `/proc/${pid}/oom_score_adj`;
  try {
    if (earlier.has(Number(readFileSync(file, "utf8")))) writeFileSync(file, String(score));
  } catch (error) {
    // It has ended, or the score must not be lowered below what somebody with CAP_SYS_RESOURCE set.
    if (!isErrno(error, "ENOENT", "ESRCH", "EACCES", "EPERM")) throw error;
  }
}

/** SELinux: gives all files of a mount one label, whatever is on disk (mount(8), context). */
function withLabel(label: string | undefined): { options?: string[] } {
  return label === undefined ? {} : { options: [`context=${label}`] };
}

/** stat(2) */
const { S_IFBLK, S_IFCHR, S_IFIFO } = constants;

export class LinuxContainerHost implements ContainerHost {
  readonly #bundleDirOf: (id: string) => string;
  readonly #writableDirOf: (id: string) => string;
  readonly #cgroups: CgroupLayout;
  readonly #hostPaths = new HostPaths();
  readonly #commands = new CommandCheck();

  constructor(bundleDirOf: (id: string) => string, writableDirOf: (id: string) => string, cgroups: CgroupLayout) {
    this.#bundleDirOf = bundleDirOf;
    this.#writableDirOf = writableDirOf;
    this.#cgroups = cgroups;
  }

  resolveHostPaths(paths: readonly string[], makeMissing: boolean, signal: AbortSignal): Promise<ResolvedPath[]> {
    return this.#hostPaths.resolve(paths, makeMissing, signal);
  }

  lookAtFiles(signal: AbortSignal): BeneathLooker {
    return new BeneathLooker(signal);
  }

  findPlaces(root: string, paths: readonly string[]): Promise<(Place | undefined)[]> {
    return findPlaces(root, paths);
  }

  async mountRootfs(id: string, layerDirs: readonly string[], { label, idMap }: ImageLook): Promise<string> {
    const bundle = this.#bundleDirOf(id);
    const target = join(bundle, "rootfs");
    const writable = this.#writableDirOf(id);
    const upperDir = join(writable, "upper");
    const workDir = join(writable, "work");
    makeDirectories(target, 0o700);
    if (idMap !== undefined) letIn(bundle, idMap);
    makeUpperDir(upperDir, layerDirs[0]!, idMap);
    makeDirectories(workDir, 0o700);
    // Volatile: nothing of a container outlives a power cut, so its fsyncs and the unmount need not wait for the disk.
    await using mapped = await MappedLayers.of(bundle, layerDirs, idMap);
    await mountOverlayAsync({ lowerDirs: mapped.dirs, upperDir, workDir, target, volatile: true, ...withLabel(label) });
    return target;
  }

  async mountImage(
    id: string,
    name: string,
    layerDirs: readonly string[],
    { label, idMap }: ImageLook,
  ): Promise<string> {
    const bundle = this.#bundleDirOf(id);
    const images = join(bundle, "images");
    const target = join(images, name);
    const nothing = join(images, "nothing");
    for (const dir of [target, nothing]) mkdirSync(dir, { recursive: true, mode: 0o755 });
    // Without an upper layer overlayfs needs two lower ones; a bind mount of a single layer would show its whiteouts.
    await using mapped = await MappedLayers.of(bundle, layerDirs, idMap);
    await mountOverlayAsync({ lowerDirs: [...mapped.dirs, nothing], target, readonly: true, ...withLabel(label) });
    return target;
  }

  async bindSource(
    id: string,
    name: string,
    source: string,
    options: SourceOptions,
    signal: AbortSignal,
  ): Promise<string> {
    const sources = join(this.#bundleDirOf(id), "sources");
    const target = join(sources, name);
    makeMountPoint(target, options.isDirectory);
    await using userns =
      options.idMap === undefined ? undefined : await UserNamespacePin.of(join(sources, "userns"), options.idMap);
    using answer = new AnswerTime([source], signal);
    const how = {
      recursive: options.recursive,
      propagation: options.propagation,
      ...(options.recursiveReadOnly ? { readonly: options.recursive ? ("recursive" as const) : true } : {}),
      ...(userns === undefined ? {} : { idmap: userns.path }),
    };
    try {
      await bindSource(source, target, how, answer.signal);
    } catch (error) {
      throw cannotMap(source, error);
    }
    return target;
  }

  makeDevices(id: string, devices: readonly DeviceSpec[], idMap: IdMap): string[] {
    const dir = join(this.#bundleDirOf(id), "sources", "devices");
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    // A tmpfs of our own: the file system of the bundle mostly forbids devices (nodev).
    mountFs({
      source: "devices",
      target: dir,
      fstype: "tmpfs",
      flags: MS.NOSUID | MS.NOEXEC,
      data: "mode=755,size=64k",
    });
    return devices.map(({ type, major = 0, minor = 0, fileMode = 0o666, uid = 0, gid = 0 }, i) => {
      const path = join(dir, String(i));
      mknod(path, (type === "b" ? S_IFBLK : type === "p" ? S_IFIFO : S_IFCHR) | fileMode, major, minor);
      const owner = mappedIds({ uid, gid }, idMap);
      chownSync(path, owner.uid, owner.gid);
      // mknod(2) applies the umask.
      chmodSync(path, fileMode);
      return path;
    });
  }

  async unbindSources(id: string): Promise<void> {
    await unmountAllUnder(join(this.#bundleDirOf(id), "sources"));
  }

  async makeVolume(id: string, name: string, content: VolumeContent, signal: AbortSignal): Promise<string> {
    const target = join(this.#writableDirOf(id), "volumes", name);
    await fillVolume(target, content, signal);
    return target;
  }

  writeProcess(id: string, process: ProcessSpec): void {
    const file = this.#processFile(id);
    namingFile(file, () => writeFileSync(file, JSON.stringify(process), { mode: 0o600 }));
  }

  readProcess(id: string): ProcessSpec {
    return JSON.parse(readFileSync(this.#processFile(id), "utf8")) as ProcessSpec;
  }

  async relabel(paths: readonly string[], label: string, signal: AbortSignal): Promise<void> {
    for (const path of paths) await relabel(path, label, signal);
  }

  readSpec(id: string): Spec | undefined {
    try {
      return JSON.parse(readFileSync(specFile(this.#bundleDirOf(id)), "utf8")) as Spec;
    } catch (error) {
      // A truncated file was never used.
      if (isErrno(error, "ENOENT") || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async commandProblem(id: string, other?: ProcessSpec): Promise<CommandProblem | undefined> {
    const spec = this.readSpec(id);
    if (spec === undefined) return undefined;
    const mounts = readMounts();
    const rootfs = realpathSync(join(this.#bundleDirOf(id), "rootfs"));
    // A shim that failed may have unmounted it: then every command would be missing.
    if (!mounts.some(({ target }) => target === rootfs)) return undefined;
    const asked = other === undefined ? spec : { ...spec, process: other };
    return await this.#commands.problem(asked, process.arch, hasOtherFormats(mounts));
  }

  kill(cgroupPath: string, signal: AbortSignal): Promise<void> {
    return killCgroup(this.#cgroups, cgroupPath, {}, signal);
  }

  thaw(cgroupPath: string): void {
    thawCgroup(this.#cgroups, cgroupPath);
  }

  memoryInUse(cgroupPath: string): number | undefined {
    return memoryWorkingSet(this.#cgroups, cgroupPath);
  }

  writeLimits(cgroupPath: string, files: readonly LimitFile[]): void {
    for (const { controller, file, value, isOptional } of files) {
      const dir = controllerDir(this.#cgroups, cgroupPath, controller);
      if (dir === undefined) continue;
      try {
        // r+ creates nothing: a file that is not the kernel's limits nothing.
        writeFileSync(join(dir, file), value, { flag: "r+" });
      } catch (error) {
        if (!(isOptional && isErrno(error, "ENOENT"))) throw error;
      }
    }
  }

  setOomScoreAdj(cgroupPath: string, earlier: ReadonlySet<number>, score: number): void {
    for (const pid of cgroupProcs(this.#cgroups, cgroupPath)) replaceOomScoreAdj(pid, earlier, score);
  }

  outOfMemory(cgroupPath: string, isSuspected: boolean): OomReport | undefined {
    const pressure = memoryPressure(this.#cgroups, cgroupPath);
    // systemd removes a scope, and its counters, with its last process.
    if (pressure === undefined ? !isSuspected : pressure.oomKills === 0) return undefined;
    const victims = readOomKills().filter(({ cgroup }) => `${cgroup}/`.includes(`${cgroupPath}/`));
    if (pressure !== undefined) return { ...pressure, victims };
    return victims.length === 0 ? undefined : { oomKills: victims.length, hasReachedLimit: false, victims };
  }

  async destroy(id: string, cgroupPath: string, signal: AbortSignal): Promise<void> {
    await this.destroyUnknown(id);
    await removeCgroup(this.#cgroups, cgroupPath, {}, signal);
  }

  async unmountRootfs(id: string): Promise<void> {
    try {
      await unmountAsync(join(this.#bundleDirOf(id), "rootfs"), { ignoreMissing: true });
    } catch (error) {
      // Something holds a file open: destroy() detaches the mount, which goes when the file is closed.
      if (!isErrno(error, "EBUSY")) throw error;
    }
  }

  async destroyUnknown(id: string): Promise<void> {
    const bundle = this.#bundleDirOf(id);
    await this.unmountRootfs(id);
    await unmountAllUnder(bundle);
    await allDone([removeTreeAsync(bundle), removeTreeAsync(this.#writableDirOf(id))]);
  }

  #processFile(id: string): string {
    return join(this.#bundleDirOf(id), "process.json");
  }
}
