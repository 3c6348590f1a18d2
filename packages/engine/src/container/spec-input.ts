import { Code, StatusError } from "@keelson/base/status.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import type { ContainerSpecInput } from "@keelson/plan/container-spec.ts";
import { quote } from "@keelson/plan/field-check.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import { maxUserFileBytes, resolveUser } from "@keelson/plan/user.ts";
import type { PrivilegedDevices } from "@keelson/runtimes/handler-settings.ts";
import { isAppArmorProfileLoaded } from "../machine/apparmor.ts";
import { readRootFile } from "../machine/root-file.ts";
import { etcFiles, ownNamespaces, podFiles } from "../records/pod-files.ts";
import type { HostFiles } from "./host-files.ts";

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
  /** What findHostFiles found. */
  readonly hostFiles: HostFiles;
  /** The path of the PID namespace to join; undefined for the container's own or the one that the pod's init holds. */
  readonly pidNamespace: string | undefined;
  readonly privilegedDevices: PrivilegedDevices;
  /** The owner that requested devices get; they keep their uid or gid where it is left out. */
  readonly deviceOwner: { readonly uid?: number; readonly gid?: number };
}

/** Collects what a container's spec needs: users of the image, namespaces, what was found of the machine's files. */
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
    ...s.hostFiles,
    devices: s.hostFiles.devices.map((device) => ({ ...device, ...s.deviceOwner })),
    allDevicesAllowed: plan.privileged && s.privilegedDevices !== "as others",
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
