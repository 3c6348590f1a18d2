import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { relabelTree } from "@keelson/linux/relabel-tree.ts";
import { AnswerTime, answerTimeoutMs } from "./host-paths.ts";

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
 * written, DeadlineExceeded when its file system has not answered for a while. The parameter is for tests.
 */
export async function relabel(
  path: string,
  label: string,
  signal: AbortSignal,
  timeoutMs = answerTimeoutMs,
): Promise<void> {
  if (machineDirectories.has(path))
    throw new StatusError(
      Code.InvalidArgument,
      `mount source ${path}: it belongs to the machine and must keep its SELinux labels; mount a directory below it, or leave out selinux_relabel`,
    );
  // Large volumes take long; only one that stands still is given up.
  using answer = new AnswerTime([path], signal, timeoutMs);
  try {
    await relabelTree(path, label, answer.signal, () => answer.extend());
  } catch (error) {
    answer.signal.throwIfAborted();
    throw new StatusError(
      Code.FailedPrecondition,
      `give ${path} the SELinux label ${label}: ${messageOf(error)}`,
      error,
    );
  }
}
