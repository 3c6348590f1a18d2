import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { processStartTicks } from "./procfs.ts";

/** pidfd_open(2); close it with closeSync. Throws SystemError: ESRCH when there is no such process, also EINVAL for threads. */
export function openPidfd(pid: number): number {
  return native.pidfdOpen(pid);
}

/** pidfd_send_signal(2); signal 0 only asks. False when the process has ended. Throws SystemError. */
export function signalPidfd(pidfd: number, signal: number): boolean {
  return native.pidfdSendSignal(pidfd, signal);
}

/** A pidfd of the process that started then, or -1: its number may have been given to another since. */
function openProcess(pid: number, startTicks: number): number {
  let fd: number;
  try {
    fd = native.pidfdOpen(pid);
  } catch (error) {
    if (isErrno(error, "ESRCH", "EINVAL")) return -1;
    throw error;
  }
  // Read after the open: if the number still is the one we know now, it was when the fd was opened.
  if (processStartTicks(pid) === startTicks) return fd;
  closeFd(fd);
  return -1;
}

/** Sends a signal to exactly the process that was recorded. False when it is gone, its number reused or not. Throws SystemError. */
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
 * Calls onExit once, later, when the process has ended (at once, but never within this call, when it is gone already).
 * For processes that are not our children, so without an exit code. Dispose it to stop watching. Keeps no event loop alive.
 */
export function watchProcess(pid: number, startTicks: number, onExit: () => void): Disposable {
  const fd = openProcess(pid, startTicks);
  if (fd < 0) {
    const immediate = setImmediate(onExit);
    return { [Symbol.dispose]: () => clearImmediate(immediate) };
  }
  let isDone = false;
  const finish = (): void => {
    isDone = true;
    closeFd(fd);
  };
  const handle = native.watch(fd, false, () => {
    finish();
    onExit();
  });
  return {
    [Symbol.dispose]() {
      if (isDone) return;
      native.unwatch(handle);
      finish();
    },
  };
}
