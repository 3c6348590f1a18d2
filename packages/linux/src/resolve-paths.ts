import { systemError, type SystemError } from "./errno.ts";
import { builtFile } from "./native.ts";
import { run } from "./run.ts";

/** Where a path leads, free of links, and whether that is a directory. */
export interface FoundPath {
  readonly path: string;
  readonly isDirectory: boolean;
}

/** The same, or the error that kept it from being found. */
export type ResolvedPath = FoundPath | { readonly error: SystemError };

/** A path is at most 4 KiB long, path_resolution(7). */
const maxAnswerBytes = 4200;

/**
 * realpath(3) of absolute paths; with `makeMode`, missing ones are first made as directories of that mode. It runs in a
 * process of its own (native/resolve-paths.c), because a path may lead to a network file system whose server is gone:
 * then this waits until the signal aborts, and rejects with its reason, while no thread of ours hangs. An error of one
 * path, with `stage` `resolve` or `make`, does not affect the others.
 */
export async function resolvePaths(
  paths: readonly string[],
  makeMode?: number,
  signal?: AbortSignal,
): Promise<ResolvedPath[]> {
  const wrong = paths.find((path) => !path.startsWith("/") || path.includes("\0"));
  if (wrong !== undefined) throw new TypeError(`${JSON.stringify(wrong)} is not an absolute path`);
  if (paths.length === 0) return [];
  const stdin = Buffer.from(paths.map((path) => `${path}\0`).join(""));
  const stdoutLimitBytes = paths.length * maxAnswerBytes;
  const {
    stdout,
    code,
    signal: endedBy,
  } = await run(
    {
      file: builtFile("resolve-paths"),
      args: makeMode === undefined ? [] : [makeMode.toString(8)],
      env: {},
      cwd: "/",
      stdin,
      stdoutLimitBytes,
    },
    signal,
  );
  const answers = stdout.toString().split("\0").slice(0, -1);
  if (answers.length !== paths.length)
    throw systemError(
      `resolve ${paths[answers.length]}: the process ended without an answer (code ${code}, signal ${endedBy})`,
      5,
      "realpath",
    );
  return answers.map((answer, index) => {
    const [number, rest] = [answer.slice(0, answer.indexOf(" ")), answer.slice(answer.indexOf(" ") + 1)];
    if (number === "0") return { path: rest.slice(2), isDirectory: rest.startsWith("d ") };
    return {
      error: systemError(`${rest} ${paths[index]}`, Number(number), rest === "make" ? "mkdir" : "realpath", rest),
    };
  });
}
