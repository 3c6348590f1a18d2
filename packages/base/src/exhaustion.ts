import { Code, messageOf, StatusError } from "./status.ts";

/** What a host can run out of, by the name in errno(3). These errors mean the same wherever they come from. */
const meanings: ReadonlyMap<string, { readonly code: Code; readonly advice: string }> = new Map([
  [
    "ENOSPC",
    {
      code: Code.ResourceExhausted,
      advice:
        "no room or no inodes are left on that file system: free some, for example by removing images, or make it larger",
    },
  ],
  ["EDQUOT", { code: Code.ResourceExhausted, advice: "the disk quota there is used up: free some of it, or raise it" }],
  [
    "EMFILE",
    {
      code: Code.ResourceExhausted,
      advice: "keelsond has reached its limit of open files: raise LimitNOFILE of its service",
    },
  ],
  [
    "ENFILE",
    {
      code: Code.ResourceExhausted,
      advice: "the machine has reached its limit of open files: raise the sysctl fs.file-max",
    },
  ],
  [
    "ENOMEM",
    {
      code: Code.ResourceExhausted,
      advice: "the kernel has no memory left for it: free some, or raise the memory limit of keelsond's service",
    },
  ],
  [
    "EROFS",
    {
      code: Code.FailedPrecondition,
      advice: "that file system is read-only: mount it writable; the kernel's log says whether a disk error made it so",
    },
  ],
]);

/**
 * Finds a system error at the root of an error that says that something has run out, and returns the error with its
 * meaning, ResourceExhausted (FailedPrecondition for a read-only file system), and advice. Undefined for any other
 * error, and for one whose code was already chosen where more was known.
 */
export function exhaustionOf(error: unknown): StatusError | undefined {
  for (let at = error; ; at = at.cause) {
    while (at instanceof SuppressedError) at = at.suppressed;
    if (!(at instanceof Error) || (at instanceof StatusError && at.code !== Code.Internal)) return undefined;
    const meaning = "code" in at && typeof at.code === "string" ? meanings.get(at.code) : undefined;
    if (meaning !== undefined) return new StatusError(meaning.code, `${messageOf(error)}; ${meaning.advice}`, error);
  }
}

/** Runs a step on a file, and adds the file's name to its system errors: those of a write to an open file lack it. */
export function namingFile<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw withPath(error, path);
  }
}

/** Adds the file's name to a system error without one; returns anything else as it is. */
export function withPath(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !("errno" in error) || "path" in error) return error;
  const { code, errno, syscall } = error as NodeJS.ErrnoException;
  return Object.assign(new Error(`${error.message} '${path}'`, { cause: error }), { code, errno, syscall, path });
}
