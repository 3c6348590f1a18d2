import { lstatSync, readdirSync, readFileSync, realpathSync, statSync, type Stats } from "node:fs";
import { join } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { deviceNumbers } from "@keelson/linux/device-numbers.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import type { ContainerSpecInput } from "@keelson/plan/container-spec.ts";
import type { DeviceRequest, ResolvedDevice } from "@keelson/plan/devices.ts";
import { quote } from "@keelson/plan/field-check.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import { parseSeccompProfile } from "@keelson/plan/seccomp/profile-file.ts";
import { maxUserFileBytes, resolveUser } from "@keelson/plan/user.ts";
import type { PrivilegedDevices } from "@keelson/runtimes/handler-settings.ts";
import { isAppArmorProfileLoaded } from "../machine/apparmor.ts";
import { readRootFile } from "../machine/root-file.ts";
import { etcFiles, ownNamespaces, podFiles } from "../records/pod-files.ts";

/** Where the facts for a container's spec come from. */
export interface SpecSources {
  readonly plan: ContainerPlan;
  readonly pod: PodPlan;
  readonly podDir: string;
  readonly host: HostFacts;
  /** Where the container's root file system is mounted. */
  readonly rootfs: string;
  /** What prepareMountSources found. */
  readonly mountSources: readonly string[];
  readonly sourceTraits: ContainerSpecInput["sourceTraits"];
  /** The path of the PID namespace to join; undefined for the container's own or the one that the pod's init holds. */
  readonly pidNamespace: string | undefined;
  readonly privilegedDevices: PrivilegedDevices;
  /** The owner that requested devices get; they keep their uid or gid where it is left out. */
  readonly deviceOwner: { readonly uid?: number; readonly gid?: number };
}

/** Collects on this machine what a container's spec needs: users of the image, device numbers, profiles. */
export function collectSpecInput(s: SpecSources): ContainerSpecInput {
  const { plan, pod } = s;
  const files = podFiles(s.podDir);
  checkAppArmorProfile(plan.appArmorProfile);
  return {
    plan,
    pod,
    host: s.host,
    rootfsPath: s.rootfs,
    user: resolveUser(
      plan.user,
      readRootFile(s.rootfs, "/etc/passwd", maxUserFileBytes),
      readRootFile(s.rootfs, "/etc/group", maxUserFileBytes),
    ),
    namespacePaths: namespacePaths(s, files),
    podFiles: {
      ...etcFiles(s.podDir),
      shm: pod.ipc === "own" ? files.shm : "/dev/shm",
      sysfs: files.sysfs,
    },
    mountSources: s.mountSources,
    sourceTraits: s.sourceTraits,
    devices: plan.devices.flatMap(resolveDevice).map((device) => ({ ...device, ...s.deviceOwner })),
    hostDevices: plan.privileged && s.privilegedDevices === "all" ? devicesBelow("/dev", "/dev", "rwm") : [],
    allDevicesAllowed: plan.privileged && s.privilegedDevices !== "as others",
    ...(plan.seccomp.is === "localhost" ? { localhostSeccomp: readSeccompProfile(plan.seccomp.path) } : {}),
  };
}

/** A runtime would only report that a write failed. */
function checkAppArmorProfile(name: string | undefined): void {
  if (name === undefined || isAppArmorProfileLoaded(name) !== false) return;
  throw new StatusError(
    Code.FailedPrecondition,
    `linux.security_context.apparmor: the profile ${quote(name)} is not loaded on this machine; load it with apparmor_parser`,
  );
}

function namespacePaths(s: SpecSources, files: ReturnType<typeof podFiles>): ContainerSpecInput["namespacePaths"] {
  const { pod, plan } = s;
  const pid = s.pidNamespace ?? (plan.pidNamespace.is === "pod" ? files.pidns : undefined);
  return { ...ownNamespaces(pod, files), ...(pid === undefined ? {} : { pid }) };
}

/** A device, or all devices of a directory. */
function resolveDevice(request: DeviceRequest): ResolvedDevice[] {
  let path: string;
  let stat: Stats;
  try {
    path = realpathSync(request.hostPath);
    stat = statSync(path);
  } catch (error) {
    throw new StatusError(Code.InvalidArgument, `device ${request.hostPath}: ${(error as Error).message}`, error);
  }
  const device = asDevice(stat, request.containerPath, request.permissions);
  if (device !== undefined) return [device];
  if (stat.isDirectory()) return devicesBelow(path, request.containerPath, request.permissions);
  throw new StatusError(
    Code.InvalidArgument,
    `device ${request.hostPath} is neither a device node nor a directory of them`,
  );
}

/** A container has its own of these: it must not see the host's terminals, shared memory or log socket. */
const ownDirectories = new Set(["pts", "shm", "mqueue", "fd", ".lxc", ".lxd-mounts", ".udev"]);

/**
 * Nodes that runtimes make themselves (config-linux.md#default-devices), or that belong to the container's terminal.
 */
const ownNodes = new Set(["console", "ptmx", "tty", "null", "zero", "full", "random", "urandom"]);

function devicesBelow(dir: string, target: string, permissions: string): ResolvedDevice[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    const inside = join(target, entry.name);
    if (entry.isDirectory()) return ownDirectories.has(entry.name) ? [] : devicesBelow(path, inside, permissions);
    if (target === "/dev" && ownNodes.has(entry.name)) return [];
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    const device = statIfThere(path);
    return device === undefined ? [] : (asDevice(device, inside, permissions) ?? []);
  });
}

function statIfThere(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

function asDevice(stat: Stats, path: string, permissions: string): ResolvedDevice | undefined {
  const numbers = deviceNumbers(stat);
  return numbers === undefined
    ? undefined
    : { path, ...numbers, fileMode: stat.mode & 0o777, uid: stat.uid, gid: stat.gid, permissions };
}

function readSeccompProfile(path: string): ReturnType<typeof parseSeccompProfile> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new StatusError(Code.InvalidArgument, `seccomp profile ${path}: ${(error as Error).message}`, error);
  }
  return parseSeccompProfile(path, text);
}
