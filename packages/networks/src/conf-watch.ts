import { existsSync, type FSWatcher, watch } from "node:fs";
import { dirname, relative, sep } from "node:path";

/** How long to wait for further changes before reporting them, in ms: files are often written in several steps. */
const settleMs = 50;

/**
 * Reports changes in a directory, which need not exist yet and may be removed and created again: while it does not
 * exist, its nearest ancestor is watched. `onChange` may also be called without a change. Does not keep the process
 * running. Never throws: `onError` is called when watching fails (inotify(7) limits), and then the caller must look at
 * the directory from time to time.
 */
export function watchDirectory(dir: string, onChange: () => void, onError: (error: unknown) => void): Disposable {
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  const settle = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      // Each time, as what was watched may have been renamed, removed or replaced.
      arm();
      onChange();
    }, settleMs).unref();
  };
  const arm = (): void => {
    watcher?.close();
    if (isClosed) return;
    try {
      watcher = watchNearest(dir, settle);
    } catch (error) {
      watcher = undefined;
      onError(error);
    }
  };
  arm();
  return {
    [Symbol.dispose]: () => {
      isClosed = true;
      clearTimeout(timer);
      watcher?.close();
    },
  };
}

/** Watches `dir`, or its nearest existing ancestor for the next directory on the way to it. */
function watchNearest(dir: string, onEvent: () => void): FSWatcher {
  for (let at = dir; ;) {
    let watcher: FSWatcher;
    try {
      watcher = watch(at, { persistent: false });
    } catch (error) {
      const isGone = error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
      if (!isGone || at === dirname(at)) throw error;
      at = dirname(at);
      continue;
    }
    const next = at === dir ? undefined : relative(at, dir).split(sep)[0];
    // It may have been created after we looked for it and before we watched its parent, unnoticed.
    if (next !== undefined && existsSync(`${at}/${next}`)) onEvent();
    watcher.on("change", (_type, name) => {
      // The parent may be /etc, where other things change too. Null: the kernel did not report a name.
      if (next === undefined || name === null || name === next || name === at.slice(at.lastIndexOf("/") + 1)) onEvent();
    });
    watcher.on("error", onEvent);
    return watcher;
  }
}
