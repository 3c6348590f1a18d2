import { readFileSync } from "node:fs";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { expandSlice } from "@keelson/plan/cgroup-path.ts";
import { specFile } from "@keelson/runtimes/runtime-paths.ts";
import { bundleDir, type Paths, podDir } from "./paths.ts";

/** What the bundle of a container says of it, for one whose record does not; undefined for what cannot be told. */
export interface BundleFacts {
  readonly podId?: string | undefined;
  readonly cgroupPath?: string | undefined;
}

/** Reads what the runtime was given to make a container of. Never throws: a bundle that is gone says nothing. */
export function bundleFacts(paths: Paths, id: string): BundleFacts {
  try {
    const spec = JSON.parse(readFileSync(specFile(bundleDir(paths, id)), "utf8")) as Spec;
    return { podId: podOf(paths, spec), cgroupPath: cgroupOf(spec) };
  } catch {
    return {};
  }
}

/** Nearly every container has files of its pod's directory mounted, such as /etc/hostname, or joins a namespace there. */
function podOf(paths: Paths, { mounts = [], linux }: Spec): string | undefined {
  const pods = `${podDir(paths, "")}/`;
  const used = [...mounts.map(({ source = "" }) => source), ...(linux?.namespaces ?? []).map(({ path = "" }) => path)];
  return used
    .find((path) => path.startsWith(pods))
    ?.slice(pods.length)
    .split("/")[0];
}

/** `linux.cgroupsPath` is the path, or `SLICE:PREFIX:NAME` with the systemd driver. */
function cgroupOf({ linux }: Spec): string | undefined {
  const path = linux?.cgroupsPath;
  if (path === undefined || path.startsWith("/")) return path;
  const [slice, prefix, name] = path.split(":");
  return slice === undefined || name === undefined ? undefined : `${expandSlice(slice)}/${prefix}-${name}.scope`;
}
