import { readFile } from "node:fs/promises";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { parse } from "yaml";
import { parseDurationMs } from "./duration.ts";
import { type Io, note } from "./io.ts";

/** Which runtime to talk to and how, from flags, environment and file, in that order. */
export interface Settings {
  /** Undefined: look for one in the usual places. */
  readonly runtimeEndpoint: string | undefined;
  readonly imageEndpoint: string | undefined;
  /** Undefined: the defaults of call-timeout.ts. */
  readonly timeoutMs: number | undefined;
  /** How often to try again when nothing answers at an endpoint that was named; negative: forever. */
  readonly maxRetries: number;
  readonly debug: boolean;
  readonly pullImageOnCreate: boolean;
  readonly disablePullOnRun: boolean;
}

/** The global flags, as commander hands them over. */
export interface GlobalOptions {
  config?: string;
  runtimeEndpoint?: string;
  imageEndpoint?: string;
  timeout?: string;
  maxRetries?: string;
  debug?: boolean;
}

export const defaultConfigFile = "/etc/crictl.yaml";

/**
 * Reads the settings. A file that was named must exist and be right; what is wrong in the default one, which crictl
 * shares, is ignored with a note on stderr.
 */
export async function readSettings(io: Io, flags: GlobalOptions): Promise<Settings> {
  const named = flags.config ?? orUndefined(io.env["CRI_CONFIG_FILE"]);
  const file = await readConfigFile(io, named);
  const text = (flag: string | undefined, variable: string, key: string) =>
    flag ?? orUndefined(io.env[variable]) ?? orUndefined(file[key] as string | undefined);
  const timeoutMs =
    flags.timeout === undefined ? Number(file["timeout"] ?? 0) * 1000 : parseDurationMs(flags.timeout, "--timeout");
  const runtimeEndpoint = endpointOf(text(flags.runtimeEndpoint, "CONTAINER_RUNTIME_ENDPOINT", "runtime-endpoint"));
  return {
    runtimeEndpoint,
    imageEndpoint: endpointOf(text(flags.imageEndpoint, "IMAGE_SERVICE_ENDPOINT", "image-endpoint")) ?? runtimeEndpoint,
    timeoutMs: timeoutMs > 0 ? timeoutMs : undefined,
    maxRetries:
      flags.maxRetries === undefined ? Number(file["max-retries"] ?? 3) : parseWhole(flags.maxRetries, "--max-retries"),
    debug: flags.debug ?? file["debug"] === true,
    pullImageOnCreate: file["pull-image-on-create"] === true,
    disablePullOnRun: file["disable-pull-on-run"] === true,
  };
}

/** A whole number from a flag. Throws InvalidArgument naming the flag. */
export function parseWhole(text: string, what: string): number {
  if (!/^-?\d{1,15}$/.test(text))
    throw new StatusError(Code.InvalidArgument, `${what} ${text}: must be a whole number`);
  return Number(text);
}

const checks: Record<string, [what: string, check: (value: unknown) => boolean]> = {
  "runtime-endpoint": ["text", isText],
  "image-endpoint": ["text", isText],
  timeout: ["a whole number of seconds", Number.isSafeInteger],
  debug: ["true or false", isBoolean],
  "pull-image-on-create": ["true or false", isBoolean],
  "disable-pull-on-run": ["true or false", isBoolean],
  "max-retries": ["a whole number", Number.isSafeInteger],
};

/** The keys of the configuration file. */
export const settingKeys: readonly string[] = Object.keys(checks);

/** What is wrong with a key's value; undefined when nothing is. */
export function checkSetting(key: string, value: unknown): string | undefined {
  const check = checks[key];
  if (check === undefined) return `${key} is not a key; the keys are ${settingKeys.join(", ")}`;
  return value === null || check[1](value) ? undefined : `${key} must be ${check[0]}`;
}

async function readConfigFile(io: Io, named: string | undefined): Promise<Record<string, unknown>> {
  const path = named ?? defaultConfigFile;
  try {
    const { values, wrong } = checkConfig(await readFile(path, "utf8"));
    if (wrong.length === 0) return values;
    if (named !== undefined) throw new StatusError(Code.InvalidArgument, wrong.join("; "));
    await note(io, `${path}: ${wrong.join("; ")}; ignored`);
    return values;
  } catch (error) {
    if (named === undefined) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        await note(io, `${path} is not used: ${messageOf(error)}`);
      return {};
    }
    throw new StatusError(Code.InvalidArgument, `read the configuration ${path}: ${messageOf(error)}`, error);
  }
}

function checkConfig(text: string): { values: Record<string, unknown>; wrong: string[] } {
  const document = (parse(text) ?? {}) as Record<string, unknown>;
  if (typeof document !== "object" || Array.isArray(document))
    throw new StatusError(Code.InvalidArgument, "must be a mapping of keys to values");
  const values: Record<string, unknown> = {};
  const wrong: string[] = [];
  for (const [key, value] of Object.entries(document)) {
    const what = checkSetting(key, value);
    if (what !== undefined) wrong.push(what);
    else values[key] = value ?? undefined;
  }
  return { values, wrong };
}

/** A bare path means a socket, as in crictl. */
function endpointOf(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  if (given.startsWith("unix://")) return given;
  if (given.includes("://") || !given.startsWith("/"))
    throw new StatusError(Code.InvalidArgument, `endpoint ${given}: must be unix:///path/of/socket`);
  return `unix://${given}`;
}

function orUndefined(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function isBoolean(value: unknown): boolean {
  return typeof value === "boolean";
}
