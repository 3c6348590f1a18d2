import { isMainThread } from "node:worker_threads";
import { native } from "./native.ts";

/**
 * Makes dir the root directory of the calling worker thread, for Node's synchronous fs calls and no others: what a
 * promise or callback does runs on libuv's pool, outside. Load every module and open what is needed before. No tar
 * entry, link or `..` leads out, and /proc is not there. Throws SystemError: EPERM on the main thread, and before
 * warmThreadPool(). Disposing it is leaveRoot().
 *
 * chroot(2) after unshare(2) CLONE_FS. It holds against paths, not against code: root can leave a chroot.
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

/** Back to the root and working directory from before enterRoot; nothing when not entered. Throws SystemError. */
export function leaveRoot(): void {
  native.leaveRoot();
}
