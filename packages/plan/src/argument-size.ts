import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { quote } from "./field-check.ts";
import { formatBytes } from "./format-bytes.ts";

/** MAX_ARG_STRLEN, with the NUL at the end: 32 pages (execve(2)). */
const maxStringBytes = 32 * 4096;

/** What the kernel allows at least, and at most (three quarters of its default stack of 8 MiB), for all together. */
const minTotalBytes = 128 * 1024;
const maxTotalBytes = 6 * 1024 * 1024;

/** Runtimes add HOME where it is missing; `/` is the shortest that it can be. */
const shortestHome = "HOME=/";

/**
 * Why the kernel would not execute a process because of the size of its arguments and environment (E2BIG): a sentence
 * for people. Undefined when they fit, as far as is known without the image: the path that a command is found at, a
 * script's interpreter and a home directory can add some bytes.
 *
 * @param stackLimitBytes of a process that has no limit of its own (RLIMIT_STACK); undefined when it is unlimited.
 */
export function argumentProblem(
  { args = [], env = [], rlimits = [] }: Pick<ProcessSpec, "args" | "env" | "rlimits">,
  stackLimitBytes: number | undefined,
): string | undefined {
  const command = args[0];
  if (command === undefined) return undefined;
  const variables = asRuntimesSetThem(env);
  const tooLong = longString(args, variables);
  if (tooLong !== undefined)
    return `the command ${quote(command)} cannot be executed: ${tooLong.name} has ${tooLong.bytes} bytes, and the kernel allows ${maxStringBytes - 1} for one argument or variable (execve(2), MAX_ARG_STRLEN); pass it in a file`;
  const argumentBytes = sizeOf(args);
  const environmentBytes = sizeOf(variables);
  const total = argumentBytes + environmentBytes + Buffer.byteLength(command) + 1;
  const stack = rlimits.findLast((limit) => limit.type === "RLIMIT_STACK")?.soft ?? stackLimitBytes ?? Infinity;
  const limit = Math.max(minTotalBytes, Math.min(maxTotalBytes, Math.floor(stack / 4)));
  if (total <= limit) return undefined;
  const why =
    limit === maxTotalBytes
      ? "its maximum"
      : limit === minTotalBytes
        ? "its minimum, more than a quarter of the container's stack limit"
        : `a quarter of the container's stack limit of ${formatBytes(stack)}`;
  const advice =
    limit === maxTotalBytes
      ? "pass large values in files"
      : "pass large values in files, or raise the stack limit (default_ulimits in keelsond's configuration)";
  return `the command ${quote(command)} cannot be executed: its ${count(args, "argument")} (${argumentBytes} bytes) and ${count(variables, "variable")} (${environmentBytes} bytes), each counted with its end and a pointer of 8 bytes, come to ${total} bytes with the program's path, and the kernel allows ${limit} (execve(2): ${why}); ${advice}`;
}

/** The first text that is too long by itself. */
function longString(args: readonly string[], env: readonly string[]): { name: string; bytes: number } | undefined {
  const isTooLong = (text: string) => Buffer.byteLength(text) >= maxStringBytes;
  const at = args.findIndex(isTooLong);
  if (at >= 0) return { name: `its argument ${at}`, bytes: Buffer.byteLength(args[at]!) };
  const entry = env.find(isTooLong);
  if (entry === undefined) return undefined;
  return { name: `its variable ${quote(keyOf(entry))}`, bytes: Buffer.byteLength(entry) };
}

/** Of entries with the same key the last counts. */
function asRuntimesSetThem(env: readonly string[]): string[] {
  const variables = new Map(env.map((entry) => [keyOf(entry), entry]));
  if (!variables.has("HOME")) variables.set("HOME", shortestHome);
  return [...variables.values()];
}

function keyOf(entry: string): string {
  return entry.split("=", 1)[0]!;
}

/** On the new stack: each text with its NUL, and a pointer to it. */
function sizeOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1 + 8, 0);
}

function count(texts: readonly string[], what: string): string {
  return `${texts.length} ${what}${texts.length === 1 ? "" : "s"}`;
}
