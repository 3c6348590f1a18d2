import { cleanPath } from "./clean-path.ts";
import { checkSingleLine, invalidField, quote } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";

/** Where a pod lives in the cgroup hierarchy. */
export interface PodCgroup {
  driver: HostFacts["cgroupDriver"];
  /** Below the root of each hierarchy, absolute: `/kubepods/burstable/podX`. */
  path: string;
  /** The last slice's own name; only with the systemd driver. */
  slice?: string;
  /** No cgroup_parent was sent: we make the pod's cgroup and remove it. */
  own: boolean;
}

/** Where one container of a pod lives. */
export interface ContainerCgroup {
  /** Below the root of each hierarchy, absolute. */
  path: string;
  /** `linux.cgroupsPath` of the runtime spec: the path, or `slice:prefix:name` for the systemd driver. */
  cgroupsPath: string;
}

/**
 * The pod's cgroup from LinuxPodSandboxConfig.cgroup_parent. Three spellings are accepted:
 *
 * - `/kubepods/burstable/podX`, what a kubelet with the cgroupfs driver sends;
 * - `kubepods-burstable-podX.slice`, a slice;
 * - `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice`, the same slice as a
 *   path, what a kubelet with the systemd driver sends.
 *
 * The cgroupfs driver accepts all three (a slice is then only a path), the systemd driver only slices. Without a
 * cgroup_parent each pod gets its own cgroup at the top, so that the pod can be measured and limited as a whole:
 * `/keelson-ID` or `keelson-ID.slice`. There is no common parent: it would have to be removed once it is empty, which
 * cannot be done without a race.
 *
 * Throws InvalidArgument for anything else, such as a relative path or one with `..`.
 */
export function planPodCgroup(cgroupParent: string, driver: HostFacts["cgroupDriver"], podId: string): PodCgroup {
  if (cgroupParent === "") return ownCgroup(driver, podId);
  checkSingleLine("linux.cgroup_parent", cgroupParent, 4095);
  if (driver === "systemd") return sliceCgroup(cgroupParent);
  const path = cgroupParent.startsWith("/") ? plainPath(cgroupParent) : expandSlice(cgroupParent);
  return { driver, path, own: false };
}

/** The container's cgroup, below that of its pod. */
export function planContainerCgroup(pod: PodCgroup, id: string): ContainerCgroup {
  if (pod.slice === undefined) {
    const path = pod.path === "/" ? `/${id}` : `${pod.path}/${id}`;
    return { path, cgroupsPath: path };
  }
  return { path: `${pod.path === "/" ? "" : pod.path}/keelson-${id}.scope`, cgroupsPath: `${pod.slice}:keelson:${id}` };
}

/** The cgroup of the process that holds a pod: its init process, or the container that is its sandbox. */
export function planSandboxCgroup({ id, cgroup }: { id: string; cgroup: PodCgroup }): ContainerCgroup {
  return planContainerCgroup(cgroup, `init-${id}`);
}

/**
 * The path of a slice: that of `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` is the root (systemd.slice(5)). Throws
 * InvalidArgument when it is not the name of a slice.
 */
export function expandSlice(name: string): string {
  if (name === "-.slice") return "/";
  if (!/^[A-Za-z0-9:_.\\@]+(?:-[A-Za-z0-9:_.\\@]+)*\.slice$/.test(name)) {
    throw invalidField(
      "linux.cgroup_parent",
      `${quote(name)} is neither an absolute path nor the name of a slice such as kubepods-burstable.slice`,
    );
  }
  const parts = name.slice(0, -".slice".length).split("-");
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join("-")}.slice`).join("");
}

function ownCgroup(driver: HostFacts["cgroupDriver"], podId: string): PodCgroup {
  if (driver === "cgroupfs") return { driver, path: `/keelson-${podId}`, own: true };
  const slice = `keelson-${podId}.slice`;
  return { driver, path: expandSlice(slice), slice, own: true };
}

function sliceCgroup(cgroupParent: string): PodCgroup {
  const slice = cgroupParent.slice(cgroupParent.lastIndexOf("/") + 1);
  if (!slice.endsWith(".slice")) {
    throw invalidField(
      "linux.cgroup_parent",
      `${quote(cgroupParent)} is not a slice, and this runtime uses the systemd cgroup driver; set the same cgroupDriver for the kubelet`,
    );
  }
  const path = expandSlice(slice);
  // systemd places a slice by its name alone: the pod would not run at any other path.
  if (cgroupParent.includes("/") && plainPath(cgroupParent) !== path) {
    throw invalidField(
      "linux.cgroup_parent",
      `${quote(cgroupParent)} is not where systemd places ${slice}, which is ${path}`,
    );
  }
  return { driver: "systemd", path, slice, own: false };
}

function plainPath(path: string): string {
  if (!path.startsWith("/")) throw invalidField("linux.cgroup_parent", `${quote(path)} must be absolute`);
  if (path.split("/").some((part) => part === ".." || part === "."))
    throw invalidField("linux.cgroup_parent", `${quote(path)} must not have . or .. in it`);
  return cleanPath(path);
}
