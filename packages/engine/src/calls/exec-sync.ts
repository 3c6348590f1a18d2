import { Code, StatusError } from "@keelson/base/status.ts";
import type { ExecSyncRequest, ExecSyncResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { execProcess } from "@keelson/plan/process.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import type { Deps } from "../deps.ts";
import { runningContainer } from "./container-status.ts";

/**
 * CRI: ExecSync. When the timeout (in seconds, 0 for none) is over, the command is killed and the call fails with
 * DeadlineExceeded.
 */
export async function execSync(d: Deps, req: ExecSyncRequest, signal: AbortSignal): Promise<ExecSyncResponse> {
  if (req.cmd.length === 0) throw new StatusError(Code.InvalidArgument, "cmd is empty: it names what to run");
  if (req.timeout < 0n)
    throw new StatusError(Code.InvalidArgument, `timeout must be 0 or more seconds, not ${req.timeout}`);
  const container = runningContainer(d, req.containerId);
  const process = execProcess(d.containerHost.readProcess(container.id), req.cmd, false);
  const timeout =
    req.timeout === 0n ? undefined : AbortSignal.timeout(Math.min(Number(req.timeout) * 1000, 2 ** 31 - 1));
  const either = timeout === undefined ? signal : AbortSignal.any([signal, timeout]);
  try {
    const { exitCode, stdout, stderr, truncated } = await d.runtimes
      .handlerOf(container.handler)
      .runtime.exec(runtimeContainerOf(d, container), process, either);
    if (truncated) d.tally.dropped("exec_output");
    return { exitCode, stdout, stderr };
  } catch (error) {
    if (timeout?.aborted !== true || signal.aborted) throw error;
    const message = `exec in container ${container.id}: ${req.cmd[0]} did not end within ${req.timeout} s and was killed`;
    throw new StatusError(Code.DeadlineExceeded, message, error);
  }
}
