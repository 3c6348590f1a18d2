import { Code, StatusError } from "@keelson/base/status.ts";
import type { StreamChoice } from "@keelson/streaming/remote-streams.ts";

/**
 * The streams that an Exec or Attach asks for. CRI: at least one; with a terminal, stderr is part of stdout. Throws
 * InvalidArgument.
 */
export function streamChoice({ stdin, stdout, stderr, tty }: StreamChoice): StreamChoice {
  if (!stdin && !stdout && !stderr)
    throw new StatusError(Code.InvalidArgument, "one of stdin, stdout and stderr must be true");
  if (tty && stderr)
    throw new StatusError(
      Code.InvalidArgument,
      "tty and stderr cannot both be true: a terminal has one output, which is stdout",
    );
  return { stdin, stdout, stderr, tty };
}
