import { Code, messageOf, StatusError } from "./status.ts";

/** What a machine can run out of, by the name in errno(3): these mean the same wherever they come from. */
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
      advice: "keelsond has as many files open as it may: raise LimitNOFILE of its service",
    },
  ],
  [
    "ENFILE",
    {
      code: Code.ResourceExhausted,
      advice: "the machine has as many files open as it may: raise the sysctl fs.file-max",
    },
  ],
  [
    "ENOMEM",
    {
      code: Code.ResourceExhausted,
      advice: "the kernel has no memory for it: free some, or raise the memory limit of keelsond's service",
    },
  ],
  [
    "EROFS",
    {
      code: Code.FailedPrecondition,
      advice:
        "that file system is read-only: mount it writable; the kernel's log says whether it became so after an error of the disk",
    },
  ],
]);

/**
 * The same error as what it means, ResourceExhausted (FailedPrecondition for a read-only file system) with what a person
 * can do, when at its root there is a system error that says that something has run out. Undefined for any other, and
 * for one whose code was chosen already by somebody who knew more.
 */
export function exhaustionOf(error: unknown): StatusError | undefined {
  for (let at = error; ; at = at.cause) {
    while (at instanceof SuppressedError) at = at.suppressed;
    if (!(at instanceof Error) || (at instanceof StatusError && at.code !== Code.Internal)) return undefined;
    const meaning = "code" in at && typeof at.code === "string" ? meanings.get(at.code) : undefined;
    if (meaning !== undefined) return new StatusError(meaning.code, `${messageOf(error)}; ${meaning.advice}`, error);
  }
}

/** Runs a step with one file whose system errors name the file: those of a write to an open file do not. */
export function namingFile<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw withPath(error, path);
  }
}

/** The system error with the file's name in it, when it has none; anything else as it is. */
export function withPath(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !("errno" in error) || "path" in error) return error;
  const { code, errno, syscall } = error as NodeJS.ErrnoException;
  return Object.assign(new Error(`${error.message} '${path}'`, { cause: error }), { code, errno, syscall, path });
}
