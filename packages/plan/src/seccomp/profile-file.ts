import { Code, StatusError } from "@keelson/base/status.ts";
import type { SeccompAction, SeccompArgSpec, SeccompSpec, SyscallSpec } from "@keelson/oci/runtime-spec/seccomp.ts";

/** Larger profiles are refused; the largest in use have some 100 KB. */
export const maxProfileBytes = 1024 * 1024;

const actions: readonly string[] = [
  "SCMP_ACT_KILL",
  "SCMP_ACT_KILL_PROCESS",
  "SCMP_ACT_KILL_THREAD",
  "SCMP_ACT_TRAP",
  "SCMP_ACT_ERRNO",
  "SCMP_ACT_TRACE",
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_LOG",
];
const operators: readonly string[] = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
];

/**
 * Parses one of the node's own profiles (Localhost), in the runtime specification's JSON. Throws InvalidArgument naming
 * the file and the place in it for anything that would make the profile protect less than it says: an unknown action,
 * and Docker's `includes`, `excludes` and `archMap`, which the specification does not have. SCMP_ACT_NOTIFY, which
 * needs an agent, is refused too.
 */
export function parseSeccompProfile(path: string, text: string): SeccompSpec {
  if (text.length > maxProfileBytes) throw bad(path, `has more than ${maxProfileBytes} bytes`);
  const json = objectAt(path, parseJson(path, text));
  if (json["archMap"] !== undefined && json["archMap"] !== null)
    throw bad(`${path}: archMap`, "is Docker's; write architectures");
  const { defaultErrnoRet, architectures, flags, syscalls } = json;
  return {
    defaultAction: actionAt(`${path}: defaultAction`, json["defaultAction"]),
    ...(isAbsent(defaultErrnoRet) ? {} : { defaultErrnoRet: wholeAt(`${path}: defaultErrnoRet`, defaultErrnoRet) }),
    ...(isAbsent(architectures) ? {} : { architectures: textsAt(`${path}: architectures`, architectures) }),
    ...(isAbsent(flags) ? {} : { flags: textsAt(`${path}: flags`, flags) }),
    ...(isAbsent(syscalls)
      ? {}
      : { syscalls: listAt(`${path}: syscalls`, syscalls).map((s, i) => syscallAt(`${path}: syscalls[${i}]`, s)) }),
  };
}

function syscallAt(place: string, value: unknown): SyscallSpec {
  const json = objectAt(place, value);
  for (const key of ["includes", "excludes"]) {
    const condition = json[key];
    if (!isAbsent(condition) && Object.keys(objectAt(`${place}.${key}`, condition)).length > 0)
      throw bad(`${place}.${key}`, "is Docker's; write the rules that apply to this machine");
  }
  const { errnoRet, args } = json;
  return {
    names: textsAt(`${place}.names`, json["names"]),
    action: actionAt(`${place}.action`, json["action"]),
    ...(isAbsent(errnoRet) ? {} : { errnoRet: wholeAt(`${place}.errnoRet`, errnoRet) }),
    ...(isAbsent(args) ? {} : { args: listAt(`${place}.args`, args).map((a, i) => argAt(`${place}.args[${i}]`, a)) }),
  };
}

function argAt(place: string, value: unknown): SeccompArgSpec {
  const json = objectAt(place, value);
  const op = json["op"];
  if (typeof op !== "string" || !operators.includes(op))
    throw bad(`${place}.op`, `must be one of ${operators.join(", ")}`);
  const index = wholeAt(`${place}.index`, json["index"]);
  if (index > 5) throw bad(`${place}.index`, "must be from 0 to 5");
  const valueTwo = isAbsent(json["valueTwo"]) ? {} : { valueTwo: wholeAt(`${place}.valueTwo`, json["valueTwo"]) };
  return { index, value: wholeAt(`${place}.value`, json["value"]), ...valueTwo, op: op as SeccompArgSpec["op"] };
}

function actionAt(place: string, value: unknown): SeccompAction {
  if (typeof value !== "string" || !actions.includes(value)) throw bad(place, `must be one of ${actions.join(", ")}`);
  return value as SeccompAction;
}

function wholeAt(place: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw bad(place, "must be a whole number from 0 to 2^53 - 1");
  return value;
}

function textsAt(place: string, value: unknown): string[] {
  const list = listAt(place, value);
  if (!list.every((entry): entry is string => typeof entry === "string")) throw bad(place, "must be a list of strings");
  return list;
}

function listAt(place: string, value: unknown): unknown[] {
  if (!Array.isArray(value)) throw bad(place, "must be a list");
  return value;
}

function objectAt(place: string, value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(place, "must be an object");
  return value as Record<string, unknown>;
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new StatusError(Code.InvalidArgument, `seccomp profile ${path} is not JSON`, error);
  }
}

function bad(place: string, problem: string): StatusError {
  return new StatusError(Code.InvalidArgument, `seccomp profile ${place} ${problem}`);
}
