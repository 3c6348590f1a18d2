import { existsSync, type FSWatcher, watch } from "node:fs";
import { dirname, relative, sep } from "node:path";

/** How long a burst of changes may go on before it is reported: files are often written in several steps. */
const settleMs = 50;

/**
 * Tells of changes in a directory that need not exist yet and may be removed and made again: until it is there,
 * its nearest ancestor is watched. `onChange` may be called without a change. Does not keep the process
 * running. Never throws; `onError` is told when watching does not work (inotify(7) limits), and what asks by itself
 * from time to time still finds out.
 */
export function watchDirectory(dir: string, onChange: () => void, onError: (error: unknown) => void): Disposable {
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  const settle = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      // Again each time: what was watched may have been renamed, removed or replaced.
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

/** Watches `dir`, or its nearest ancestor that exists for the next step on the way to it. */
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
    // Made between our looking for it and our watch of its parent: nothing would tell us.
    if (next !== undefined && existsSync(`${at}/${next}`)) onEvent();
    watcher.on("change", (_type, name) => {
      // The parent may be /etc, where other things change. null: the kernel did not say which.
      if (next === undefined || name === null || name === next || name === at.slice(at.lastIndexOf("/") + 1)) onEvent();
    });
    watcher.on("error", onEvent);
    return watcher;
  }
}
