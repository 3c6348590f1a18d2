import { chownSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { isErrno } from "@keelson/linux/errno.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { IdMappingSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { specFile } from "./runtime-paths.ts";
import type { RunningProcesses, RuntimeContainer } from "./runtime.ts";

/** Ids of the host. */
export interface StreamOwner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Whose the pipes of a process have to be, so that it can open them again as /dev/stdout: its user's. Runtimes change
 * the owner themselves, but some only inside a user namespace, where root has no power over pipes of the host.
 */
export function streamOwner({ linux }: Pick<Spec, "linux">, { user }: ProcessSpec): StreamOwner {
  return { uid: hostIdOf(user.uid, linux?.uidMappings), gid: hostIdOf(user.gid, linux?.gidMappings) };
}

/** The same for a command in a container, whose mappings, if it has any, are in its bundle. */
export function streamOwnerIn(
  { bundleDir, mapsIds = true }: Pick<RuntimeContainer, "bundleDir" | "mapsIds">,
  process: ProcessSpec,
): StreamOwner {
  return streamOwner(mapsIds ? (JSON.parse(readFileSync(specFile(bundleDir), "utf8")) as Spec) : {}, process);
}

/** A runtime refuses users that the namespace does not have. */
function hostIdOf(id: number, mappings: readonly IdMappingSpec[] = []): number {
  const found = mappings.find(({ containerID, size }) => id >= containerID && id - containerID < size);
  return found === undefined ? id : found.hostID + (id - found.containerID);
}

/**
 * Gives a container the pipes that its monitor has made. They are looked up at the monitor, where no container can put
 * something else, and before the container is started.
 */
export function giveMonitorPipes({ main, monitor }: RunningProcesses, { uid, gid }: StreamOwner): void {
  if (main === undefined) return;
  const streams = pipesOf(main).filter(({ fd }) => fd < 3);
  const isStream = (pipe: string) => streams.some((stream) => stream.pipe === pipe);
  for (const { fd } of pipesOf(monitor).filter(({ pipe }) => isStream(pipe))) {
    try {
      chownSync(`/proc/${monitor.pid}/fd/${fd}`, uid, gid);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error; // closed meanwhile: the monitor's copy of the container's end
    }
  }
}

function pipesOf({ pid }: ProcessIdentity): { readonly fd: number; readonly pipe: string }[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        const pipe = readlinkSync(`/proc/${pid}/fd/${fd}`);
        return pipe.startsWith("pipe:") ? [{ fd: Number(fd), pipe }] : [];
      } catch (error) {
        if (isErrno(error, "ENOENT")) return [];
        throw error;
      }
    });
  } catch (error) {
    // It has ended.
    if (isErrno(error, "ENOENT", "ESRCH")) return [];
    throw error;
  }
}
