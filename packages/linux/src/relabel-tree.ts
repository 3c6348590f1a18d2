import { systemError } from "./errno.ts";
import { builtFile } from "./native.ts";
import { run } from "./run.ts";

/** Where SELinux keeps a file's label (xattr(7)). */
export const labelAttribute = "security.selinux";

/** More than a name and a number. */
const maxAnswerBytes = 4096;

/**
 * Gives a file, or a directory with everything in it, an SELinux label. Follows no link, writes no label that is already
 * right, and leaves alone what does not exist and file systems without labels. It runs in a process of its own
 * (native/relabel-tree.c), because the file system's server may be gone: then this waits until the signal aborts, and
 * rejects with its reason, while no thread of ours hangs. Calls `onProgress` at least once for each 256 files.
 *
 * Throws SystemError.
 */
export async function relabelTree(
  path: string,
  label: string,
  signal?: AbortSignal,
  onProgress: () => void = () => {},
): Promise<void> {
  let said = "";
  const onStdout = (bytes: Buffer) => {
    onProgress();
    // Dots say nothing else, and there may be many.
    said = (said + bytes.toString("latin1")).replace(/^\.+/, "").slice(0, maxAnswerBytes);
  };
  const options = { file: builtFile("relabel-tree"), args: [path, label], env: {}, cwd: "/", onStdout };
  const { code, signal: endedBy } = await run(options, signal);
  if (code === 0) return;
  const [, errno, name] = /^(\d+) ([^]*)$/.exec(Buffer.from(said, "latin1").toString()) ?? [];
  if (errno === undefined)
    throw systemError(`label ${path}: the process ended without an answer (code ${code}, signal ${endedBy})`, 5, "run");
  throw systemError(`label ${name}`, Number(errno), "lsetxattr");
}
