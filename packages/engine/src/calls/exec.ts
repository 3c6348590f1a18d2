import type { ExecRequest, ExecResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { execProcess } from "@keelson/plan/process.ts";
import type { Deps } from "../deps.ts";
import { runningContainer } from "./container-status.ts";
import { streamChoice } from "./stream-choice.ts";

/** CRI: Exec. The URL is valid for one minute and for one client. */
export async function exec(d: Deps, req: ExecRequest): Promise<ExecResponse> {
  const choice = streamChoice(req);
  const { id } = runningContainer(d, req.containerId);
  // A malformed command fails this call, not the client that uses the URL later.
  execProcess(d.containerHost.readProcess(id), req.cmd, req.tty);
  return { url: await d.streaming.urlFor({ is: "exec", containerId: id, command: req.cmd, choice }) };
}
