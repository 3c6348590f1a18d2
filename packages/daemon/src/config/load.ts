import { readFileSync } from "node:fs";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { builtInRuntimes, problemsOfHandler } from "@keelson/runtimes/handler-section.ts";
import { parse, TomlError } from "smol-toml";
import * as v from "valibot";
import { type Config, configSchema } from "./schema.ts";

/** The file that is read without --config; it need not exist. */
export const defaultConfigPath = "/etc/keelson/config.toml";

/** What the command line overrides. */
export interface Overrides {
  root?: string | undefined;
  state?: string | undefined;
  socket?: string | undefined;
  logLevel?: string | undefined;
}

/**
 * Reads and checks the configuration. Without a path it reads the default file, if that exists. Throws InvalidArgument
 * naming the file, the key and what is allowed.
 */
export function loadConfig(path: string | undefined, overrides: Overrides = {}): Config {
  const file = path ?? defaultConfigPath;
  const table = readToml(file, path !== undefined);
  const flags = new Map<string, string>();
  for (const key of ["root", "state", "socket"] as const) {
    if (overrides[key] === undefined) continue;
    table[key] = overrides[key];
    flags.set(key, `--${key}`);
  }
  if (overrides.logLevel !== undefined) {
    table["log"] = { ...(table["log"] as object | undefined), level: overrides.logLevel };
    flags.set("log.level", "--log-level");
  }
  return parseConfig(table, file, flags);
}

/**
 * Checks a table that was read from `file`.
 *
 * @param flags of the command line, by the keys whose values they gave: errors name the flag and not the file then.
 */
export function parseConfig(table: unknown, file: string, flags: ReadonlyMap<string, string> = new Map()): Config {
  const result = v.safeParse(configSchema, table);
  if (result.success) return checkWhole(result.output, file);
  const problems = result.issues.map((issue) => {
    const flag = flags.get(v.getDotPath(issue) ?? "");
    return flag === undefined ? `${file}: ${describeIssue(issue)}` : `${flag}: ${describeExpected(issue)}`;
  });
  throw new StatusError(Code.InvalidArgument, problems.join("\n"));
}

/** Checks that involve several keys. */
function checkWhole(config: Config, file: string): Config {
  const { default_runtime: name } = config;
  if (name !== undefined && !builtInRuntimes.includes(name) && !Object.hasOwn(config.runtimes, name)) {
    const known = [...new Set([...builtInRuntimes, ...Object.keys(config.runtimes)])];
    throw invalid(file, [`default_runtime: "${name}" has no [runtimes.${name}]; allowed: ${known.join(", ")}`]);
  }
  const problems = Object.entries(config.runtimes).flatMap(([handler, section]) => problemsOfHandler(handler, section));
  if (problems.length > 0) throw invalid(file, problems);
  const { tls_cert_file: cert, tls_key_file: key } = config.streaming;
  if ((cert === undefined) !== (key === undefined))
    throw invalid(file, [
      `streaming.${cert === undefined ? "tls_cert_file" : "tls_key_file"}: is required with the other of the two`,
    ]);
  return config;
}

function readToml(file: string, mustExist: boolean): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (isMissing && !mustExist) return {};
    throw invalid(file, [isMissing ? "there is no such file; `keelsond config default` prints one" : messageOf(error)]);
  }
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof TomlError) throw invalid(file, [`line ${error.line}: ${error.message.split("\n")[0] ?? ""}`]);
    throw error;
  }
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue) ?? "";
  if (issue.type === "strict_object" && issue.expected === "never")
    return `${path}: unknown key; \`keelsond config default\` lists all`;
  if (issue.type === "strict_object" && issue.received === "undefined") return `${path}: is required`;
  return `${path}: ${describeExpected(issue)}`;
}

function describeExpected(issue: v.BaseIssue<unknown>): string {
  if (issue.type === "strict_object") return "must be a section";
  if (issue.kind === "schema") return `must be ${issue.expected ?? "something else"}, not ${issue.received}`;
  return issue.message;
}

function invalid(file: string, problems: string[]): StatusError {
  return new StatusError(Code.InvalidArgument, problems.map((p) => `${file}: ${p}`).join("\n"));
}
