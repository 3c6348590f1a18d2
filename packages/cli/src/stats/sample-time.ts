import { Code, StatusError } from "@keelson/base/status.ts";

/** What --seconds was given, in ms. Throws InvalidArgument for what is no time above zero. */
export function parseSampleMs(text: string): number {
  const seconds = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || seconds <= 0 || seconds > 86_400)
    throw new StatusError(Code.InvalidArgument, `--seconds ${text}: must be a number of seconds above 0`);
  return seconds * 1000;
}
