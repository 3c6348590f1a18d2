import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { Poll, pollReadable } from "./poll.ts";
import { processStartTicks } from "./procfs.ts";

/**
 * pidfd_open(2); close it with closeFd. Throws SystemError: ESRCH when there is no such process, EINVAL for a thread.
 */
export function openPidfd(pid: number): number {
  return native.pidfdOpen(pid);
}

/** pidfd_send_signal(2); signal 0 only checks. False when the process has ended. Throws SystemError. */
export function signalPidfd(pidfd: number, signal: number): boolean {
  return native.pidfdSendSignal(pidfd, signal);
}

/** A pidfd of the process that started at that time, or -1: its pid may belong to another one now. */
function openProcess(pid: number, startTicks: number): number {
  let fd: number;
  try {
    fd = native.pidfdOpen(pid);
  } catch (error) {
    if (isErrno(error, "ESRCH", "EINVAL")) return -1;
    throw error;
  }
  // Read after the open: if the pid belongs to our process now, it did when the fd was opened.
  if (processStartTicks(pid) === startTicks) return fd;
  closeFd(fd);
  return -1;
}

/**
 * Sends a signal to exactly the process that was recorded. False when it is gone, whether or not its pid was reused.
 * Throws SystemError.
 */
export function signalProcess(pid: number, startTicks: number, signal: number): boolean {
  const fd = openProcess(pid, startTicks);
  if (fd < 0) return false;
  try {
    return native.pidfdSendSignal(fd, signal);
  } finally {
    closeFd(fd);
  }
}

/**
 * Calls onExit once when the process has ended; when it is gone already, then soon, but never within this call. For
 * processes that are not our children, so without an exit code. Dispose of it to stop watching. Watching does not keep
 * the event loop running.
 */
export function watchProcess(pid: number, startTicks: number, onExit: () => void): Disposable {
  const fd = openProcess(pid, startTicks);
  if (fd < 0) {
    const immediate = setImmediate(onExit);
    return { [Symbol.dispose]: () => clearImmediate(immediate) };
  }
  let isWatching = true;
  const stop = (): void => {
    if (!isWatching) return;
    isWatching = false;
    poll[Symbol.dispose]();
    closeFd(fd);
  };
  const poll = new Poll(fd, () => {
    stop();
    onExit();
  });
  poll.unref();
  poll.want(pollReadable);
  return { [Symbol.dispose]: stop };
}
