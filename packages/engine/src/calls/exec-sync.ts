import { collectGarbageSoon } from "@keelson/base/collect-garbage.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import { encodeExecSync } from "@keelson/cri/exec-sync-answer.ts";
import type { ExecSyncRequest, ExecSyncResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { execProcess } from "@keelson/plan/process.ts";
import { ExecOutput, freeMemory } from "@keelson/runtimes/exec-output.ts";
import { execContainerOf } from "../container/runtime-container.ts";
import { tooLargeProblem } from "../container/too-large-command.ts";
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
  const tooLarge = tooLargeProblem(d, container.handler, process);
  if (tooLarge !== undefined)
    throw new StatusError(Code.FailedPrecondition, `exec in container ${container.id}: ${tooLarge.message}`);
  const timeout =
    req.timeout === 0n ? undefined : AbortSignal.timeout(Math.min(Number(req.timeout) * 1000, 2 ** 31 - 1));
  const refused = new AbortController();
  const any = AbortSignal.any([signal, refused.signal, ...(timeout === undefined ? [] : [timeout])]);
  using undo = new DisposableStack();
  using output: ExecOutput = new ExecOutput((bytes) => memory.take(bytes));
  const memory = undo.use(
    d.execMemory.open(() => {
      output[Symbol.dispose]();
      refused.abort(noMemory(container.id, d.execMemory.limitBytes));
    }),
  );
  try {
    const { runtime } = d.runtimes.handlerOf(container.handler);
    const exitCode = await runtime.exec(execContainerOf(d, container), process, output, any);
    // The command may have ended before it could be killed.
    refused.signal.throwIfAborted();
    memory.keep();
    if (output.isTruncated) d.tally.dropped("exec_output");
    const answer = { stdout: output.stdout.end(), stderr: output.stderr.end(), exitCode };
    const response = await encodeExecSync(answer, freeMemory);
    const held = undo.move();
    // The server disposes of an answer when it is sent or its client is gone.
    return Object.defineProperty(response, Symbol.dispose, {
      value: () => {
        held.dispose();
        const isLarge = response.stdout.buffer.byteLength > largeAnswerBytes;
        freeMemory(response.stdout);
        // grpc-js has made a copy of it, which is garbage now.
        if (isLarge) collectGarbageSoon();
      },
    });
  } catch (error) {
    if (timeout?.aborted !== true || signal.aborted) throw error;
    const message = `exec in container ${container.id}: ${req.cmd[0]} did not end within ${req.timeout} s and was killed`;
    throw new StatusError(Code.DeadlineExceeded, message, error);
  }
}

/** From which size on an answer's memory is worth a collection, in bytes. */
const largeAnswerBytes = 1024 * 1024;

function noMemory(id: string, limitBytes: number): StatusError {
  return new StatusError(
    Code.ResourceExhausted,
    `exec in container ${id}: the output of all ExecSync calls together is more than ${limitBytes} bytes, so the command was killed; try again when others have ended, or write less`,
  );
}
