import { access, constants, stat } from "node:fs/promises";
import { join } from "node:path";
import { Code, codeOf, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import type { PluginConfig } from "./config-list.ts";
import { isJsonObject, type JsonObject, parseJsonObject, printable } from "./json.ts";
import { resultLimitBytes } from "./result.ts";

/**
 * What a plugin is asked to do (CNI SPEC.md section 2, "CNI operations"). CHECK is optional for runtimes; we do not use
 * it.
 */
export type Command = "ADD" | "DEL" | "STATUS" | "GC";

/** How much of stdout an exec must keep: with one byte more than a result may have, it is known to be too large. */
export const stdoutLimitBytes = resultLimitBytes + 1;
/** How much of stderr is worth keeping. */
export const stderrLimitBytes = 64 << 10;

/** A process to run. */
export interface PluginCall {
  readonly file: string;
  /** The CNI_* variables; the exec adds them to an environment with a PATH. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
}

/** How a process ended. */
export interface PluginExit {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  /** At most stdoutLimitBytes. */
  readonly stdout: string;
  /** At most stderrLimitBytes. */
  readonly stderr: string;
}

/**
 * Runs a plugin to its end. When the signal aborts, kills it together with its children, and rejects with the signal's
 * reason once it is gone. Output beyond the limits is read and discarded. Also rejects when the plugin cannot be
 * started.
 */
export type PluginExec = (call: PluginCall, signal: AbortSignal) => Promise<PluginExit>;

export interface PluginDeps {
  /** Where plugins are searched for, in this order; CNI_PATH. */
  readonly binDirs: readonly string[];
  readonly exec: PluginExec;
}

/** What one plugin is asked to do. */
export interface PluginRequest {
  readonly plugin: PluginConfig;
  readonly command: Command;
  /** The parameters of the command (SPEC.md section 2, "Parameters"). */
  readonly env: Readonly<Record<string, string>>;
  /** For stdin. */
  readonly config: JsonObject;
}

/** The path of a plugin's binary. Throws FailedPrecondition saying where it was searched for and what to do. */
export async function findPlugin(d: PluginDeps, type: string): Promise<string> {
  for (const dir of d.binDirs) {
    const file = join(dir, type);
    if (await isExecutable(file)) return file;
  }
  throw new StatusError(
    Code.FailedPrecondition,
    `plugin ${type}: there is no such binary in ${d.binDirs.join(", ") || "any directory (none is configured)"}; install the CNI plugins or correct the directories`,
  );
}

/**
 * Runs one plugin and returns what it wrote to stdout, which may be anything.
 *
 * Throws a StatusError that begins with the plugin's name: Unavailable when the plugin asks to try again later (11) or
 * is not available (50, 51), FailedPrecondition when it refuses the configuration (1, 2, 4, 6, 7) or its binary is
 * missing, DeadlineExceeded or Cancelled when the signal aborted, Internal otherwise.
 */
export async function execPlugin(
  d: PluginDeps,
  { plugin, command, env, config }: PluginRequest,
  signal: AbortSignal,
): Promise<string> {
  const call = {
    file: await findPlugin(d, plugin.type),
    env: { CNI_COMMAND: command, CNI_PATH: d.binDirs.join(":"), ...env },
    stdin: JSON.stringify(config),
  };
  try {
    const exit = await runToEnd(d, call, signal);
    if (exit.code !== 0) throw failureOf(exit);
    if (Buffer.byteLength(exit.stdout) > resultLimitBytes)
      throw new StatusError(Code.Internal, `wrote more than ${resultLimitBytes} bytes to stdout`);
    return exit.stdout;
  } catch (error) {
    throw wrapError(`plugin ${plugin.type}: ${command}`, error);
  }
}

async function runToEnd(d: PluginDeps, call: PluginCall, signal: AbortSignal): Promise<PluginExit> {
  const startedAtMs = performance.now();
  try {
    return await d.exec(call, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
    const reason: unknown = signal.reason;
    const why =
      codeOf(reason) === Code.DeadlineExceeded ? "the deadline was over" : `the call ended (${messageOf(reason)})`;
    throw new StatusError(codeOf(reason), `was running for ${seconds} s when ${why}, and was killed`, error);
  }
}

/** SPEC.md section 2, "Errors": a non-zero exit code and, from well-behaved plugins, an error structure on stdout. */
function failureOf(exit: PluginExit): StatusError {
  const reported = errorStructure(exit.stdout);
  const said = tail(exit.stderr) || tail(exit.stdout);
  if (reported !== undefined) return reported;
  const how = exit.code === null ? `was killed by ${exit.signal ?? "a signal"}` : `ended with code ${exit.code}`;
  return new StatusError(Code.Internal, `${how}${said === "" ? " and said nothing" : `: ${said}`}`);
}

/** SPEC.md section 5, "Error". */
function errorStructure(stdout: string): StatusError | undefined {
  let raw: JsonObject;
  try {
    raw = parseJsonObject(stdout, resultLimitBytes);
  } catch {
    return undefined; // The plugin wrote something else, which failureOf shows.
  }
  if (!isJsonObject(raw) || typeof raw["msg"] !== "string" || raw["msg"] === "") return undefined;
  const details =
    typeof raw["details"] === "string" && raw["details"] !== "" ? `; ${printable(raw["details"], 1000)}` : "";
  const code = typeof raw["code"] === "number" ? raw["code"] : undefined;
  return new StatusError(
    statusCodes.get(code) ?? Code.Internal,
    `${printable(raw["msg"], 1000)}${details}${code === undefined ? "" : ` (CNI error ${code})`}`,
  );
}

/** SPEC.md section 5, "Error": the codes that matter for what the caller does next. */
const statusCodes: ReadonlyMap<number | undefined, Code> = new Map([
  [1, Code.FailedPrecondition], // incompatible CNI version
  [2, Code.FailedPrecondition], // unsupported field
  [4, Code.FailedPrecondition], // invalid environment variables
  [6, Code.FailedPrecondition], // content cannot be decoded
  [7, Code.FailedPrecondition], // invalid network configuration
  [11, Code.Unavailable], // try again later
  [50, Code.Unavailable], // not available
  [51, Code.Unavailable], // not available, and existing containers are affected
]);

/** The end of a program's output, which usually has the reason. */
function tail(text: string): string {
  return printable(text.trim().slice(-500), 500);
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
