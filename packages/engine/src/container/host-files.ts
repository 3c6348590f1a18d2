import { constants } from "node:fs";
import { join } from "node:path";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { BeneathLooker, SeenFile } from "@keelson/linux/look-beneath.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import type { ContainerSpecInput } from "@keelson/plan/container-spec.ts";
import type { DeviceRequest, ResolvedDevice } from "@keelson/plan/devices.ts";
import { maxProfileBytes, parseSeccompProfile } from "@keelson/plan/seccomp/profile-file.ts";
import type { Machine } from "../capabilities.ts";
import { AnswerTime, answerTimeoutMs } from "../machine/host-paths.ts";

/** What a container's spec takes from files of the machine. */
export type HostFiles = Pick<ContainerSpecInput, "devices" | "hostDevices" | "localhostSeccomp">;

/** Looks at files of the machine, which may be on a file system whose server is gone. */
export type FileLooker = Pick<BeneathLooker, "look" | "read" | "list"> & Disposable;

/**
 * Finds the devices and the seccomp profile that a plan names, and with `allDevices` everything in /dev. A process of
 * its own looks at them, never the daemon. Takes no lock, and must be called without one, as findHostPaths.
 *
 * Throws InvalidArgument for what is missing, is no device or no profile, and DeadlineExceeded when a file system does
 * not answer. The parameter is for tests.
 */
export async function findHostFiles(
  d: Pick<Machine, "containerHost">,
  { devices, seccomp }: Pick<ContainerPlan, "devices" | "seccomp">,
  allDevices: boolean,
  signal: AbortSignal,
  timeoutMs = answerTimeoutMs,
): Promise<HostFiles> {
  const profile = seccomp.is === "localhost" ? seccomp.path : undefined;
  const paths = [...devices.map((device) => device.hostPath), ...(profile === undefined ? [] : [profile])];
  if (paths.length === 0 && !allDevices) return { devices: [], hostDevices: [] };
  // A retry waits here, so that not each leaves a process behind.
  if (paths.length > 0) await d.containerHost.resolveHostPaths(paths, false, signal);
  using answer = new AnswerTime(allDevices ? [...paths, "/dev"] : paths, signal, timeoutMs);
  using looker = d.containerHost.lookAtFiles(answer.signal);
  const finder = new DeviceFinder(looker);
  return {
    devices: (await Promise.all(devices.map((device) => finder.find(device)))).flat(),
    hostDevices: allDevices ? await finder.below("/dev", "", "/dev", "rwm") : [],
    ...(profile === undefined ? {} : { localhostSeccomp: await readSeccompProfile(looker, profile) }),
  };
}

const { S_IFMT, S_IFDIR, S_IFCHR, S_IFBLK } = constants;
const kindOf = ({ mode }: SeenFile) => mode & S_IFMT;

/** A container has its own of these: it must not see the host's terminals, shared memory or log socket. */
const ownDirectories = new Set(["pts", "shm", "mqueue", "fd", ".lxc", ".lxd-mounts", ".udev"]);

/**
 * Nodes that runtimes make themselves (config-linux.md#default-devices), or that belong to the container's terminal.
 */
const ownNodes = new Set(["console", "ptmx", "tty", "null", "zero", "full", "random", "urandom"]);

/** How many files of directories are looked at for one container. */
const maxFiles = 16_384;

class DeviceFinder {
  readonly #looker: FileLooker;
  #files = 0;

  constructor(looker: FileLooker) {
    this.#looker = looker;
  }

  /** A device, or all devices of a directory. */
  async find({ hostPath, containerPath, permissions }: DeviceRequest): Promise<ResolvedDevice[]> {
    const seen = await asked(`device ${hostPath}`, () => this.#looker.look({ root: hostPath, path: "" }));
    const device = asDevice(seen, containerPath, permissions);
    if (device !== undefined) return [device];
    if (kindOf(seen) === S_IFDIR)
      return await asked(`device ${hostPath}`, () => this.below(hostPath, "", containerPath, permissions));
    throw new StatusError(Code.InvalidArgument, `device ${hostPath} is neither a device node nor a directory of them`);
  }

  /** The devices in the directory at `path` beneath `root`. Follows no link, and leaves out what vanishes meanwhile. */
  async below(root: string, path: string, target: string, permissions: string): Promise<ResolvedDevice[]> {
    const names = (await ifThere(() => this.#looker.list({ root, path }))) ?? [];
    if ((this.#files += names.length) > maxFiles)
      throw new StatusError(Code.InvalidArgument, `there are more than ${maxFiles} files in it; name the devices`);
    const inner = names.map(async (name): Promise<ResolvedDevice[]> => {
      const inside = join(target, name);
      const seen = await ifThere(() => this.#looker.look({ root, path: join(path, name) }));
      if (seen === undefined) return [];
      if (kindOf(seen) === S_IFDIR)
        return ownDirectories.has(name) ? [] : await this.below(root, join(path, name), inside, permissions);
      if (target === "/dev" && ownNodes.has(name)) return [];
      const device = asDevice(seen, inside, permissions);
      return device === undefined ? [] : [device];
    });
    return (await Promise.all(inner)).flat();
  }
}

function asDevice(seen: SeenFile, path: string, permissions: string): ResolvedDevice | undefined {
  const kind = kindOf(seen);
  if (kind !== S_IFCHR && kind !== S_IFBLK) return undefined;
  const { mode, uid, gid, major, minor } = seen;
  return { path, type: kind === S_IFCHR ? "c" : "b", major, minor, fileMode: mode & 0o777, uid, gid, permissions };
}

async function readSeccompProfile(looker: FileLooker, path: string): Promise<ReturnType<typeof parseSeccompProfile>> {
  const parts: Buffer[] = [];
  // One byte more than may be there, for parsing to refuse.
  for (let size = 0; size <= maxProfileBytes;) {
    const part = await asked(`seccomp profile ${path}`, () =>
      looker.read({ root: path, path: "" }, size, maxProfileBytes + 1 - size),
    );
    if (part.length === 0) break;
    parts.push(part);
    size += part.length;
  }
  return parseSeccompProfile(path, Buffer.concat(parts).toString());
}

async function asked<T>(what: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!isErrno(error)) throw error;
    throw new StatusError(Code.InvalidArgument, `${what}: ${messageOf(error)}`, error);
  }
}

async function ifThere<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}
