import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { relabelTree } from "@keelson/linux/relabel-tree.ts";

/**
 * Directories that must keep their own labels: relabelled, a machine would no longer boot. Docker and Podman refuse the
 * same.
 */
const machineDirectories = new Set([
  "/",
  "/bin",
  "/boot",
  "/dev",
  "/etc",
  "/home",
  "/lib",
  "/lib64",
  "/opt",
  "/proc",
  "/root",
  "/run",
  "/sbin",
  "/srv",
  "/sys",
  "/tmp",
  "/usr",
  "/var",
  "/var/lib",
  "/var/log",
]);

/**
 * Gives a mount's source, with everything in it, an SELinux label, without following links and without touching it from
 * this process.
 *
 * Throws InvalidArgument for a directory that the machine itself needs, FailedPrecondition when a label cannot be
 * written.
 */
export async function relabel(path: string, label: string, signal: AbortSignal): Promise<void> {
  if (machineDirectories.has(path))
    throw new StatusError(
      Code.InvalidArgument,
      `mount source ${path}: it belongs to the machine and must keep its SELinux labels; mount a directory below it, or leave out selinux_relabel`,
    );
  try {
    await relabelTree(path, label, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw new StatusError(
      Code.FailedPrecondition,
      `give ${path} the SELinux label ${label}: ${messageOf(error)}`,
      error,
    );
  }
}
