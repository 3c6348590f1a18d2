import { Code, StatusError } from "@keelson/base/status.ts";
import { parseDurationMs } from "../duration.ts";
import type { Io } from "../io.ts";

export interface PullTimeoutFlags {
  pullTimeout?: string;
}

/** The value of --pull-timeout or CRICTL_PULL_TIMEOUT, in ms; undefined: no limit. */
export function pullTimeoutMs(io: Io, flags: PullTimeoutFlags): number | undefined {
  const text = flags.pullTimeout ?? io.env["CRICTL_PULL_TIMEOUT"] ?? "";
  if (text === "") return undefined;
  const ms = parseDurationMs(text, "--pull-timeout");
  if (ms < 0) throw new StatusError(Code.InvalidArgument, `--pull-timeout ${text}: must not be negative`);
  return ms === 0 ? undefined : ms;
}
