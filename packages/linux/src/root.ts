import { isMainThread } from "node:worker_threads";
import { native } from "./native.ts";

/**
 * Makes dir the root directory of the calling worker thread. That holds for Node's synchronous fs calls alone: those
 * with a promise or a callback run on libuv's pool, outside. Load every module and open what is needed before. No tar
 * entry, link or `..` leads out, and there is no /proc. Throws SystemError: EPERM on the main thread, and before
 * warmThreadPool(). Disposing of the result calls leaveRoot().
 *
 * It is chroot(2) after unshare(2) with CLONE_FS, and holds against paths, not against code: root can leave a chroot.
 */
export function enterRoot(dir: string): Disposable {
  if (isMainThread)
    throw Object.assign(new Error(`enter root ${dir} on the main thread (EPERM)`), {
      code: "EPERM",
      errno: 1,
      syscall: "chroot",
      path: dir,
    });
  native.enterRoot(dir);
  return { [Symbol.dispose]: leaveRoot };
}

/** Restores the root and working directory from before enterRoot; does nothing without one. Throws SystemError. */
export function leaveRoot(): void {
  native.leaveRoot();
}
