import { Code, StatusError } from "@keelson/base/status.ts";
import type { AttachRequest, AttachResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { runningContainer } from "./container-status.ts";
import { streamChoice } from "./stream-choice.ts";

/** CRI: Attach. The URL is valid for one minute and for one client. */
export async function attach(d: Deps, req: AttachRequest): Promise<AttachResponse> {
  const choice = streamChoice(req);
  const { id, config } = runningContainer(d, req.containerId);
  if (req.tty !== config.tty) {
    throw new StatusError(
      Code.InvalidArgument,
      `tty is ${req.tty}, but the container was created ${config.tty ? "with" : "without"} a terminal; attach ${config.tty ? "with" : "without"} one`,
    );
  }
  return { url: await d.streaming.urlFor({ is: "attach", containerId: id, choice }) };
}
