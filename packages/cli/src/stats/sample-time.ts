import { Code, StatusError } from "@keelson/base/status.ts";

/** The value of --seconds, in ms. Throws InvalidArgument unless it is a time above zero. */
export function parseSampleMs(text: string): number {
  const seconds = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || seconds <= 0 || seconds > 86_400)
    throw new StatusError(Code.InvalidArgument, `--seconds ${text}: must be a number of seconds above 0`);
  return seconds * 1000;
}
