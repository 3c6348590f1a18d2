import { Code, codeOf, messageOf } from "@keelson/base/status.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import { execProcess } from "@keelson/plan/process.ts";
import type { RunningExec } from "@keelson/runtimes/runtime.ts";
import type { Outcome } from "@keelson/streaming/exit-status.ts";
import type { RemoteCommand } from "@keelson/streaming/streaming-request.ts";
import type { Handlers, Machine, Records } from "../capabilities.ts";
import { execContainerOf } from "../container/runtime-container.ts";
import { tooLargeProblem } from "../container/too-large-command.ts";
import { stillRunning } from "./running-container.ts";

type Exec = Extract<RemoteCommand, { is: "exec" }>;

/**
 * Runs a command in a container for a client. When the client disconnects, the command and all that it started are
 * killed.
 */
export async function exec(
  d: Records & Handlers & Pick<Machine, "containerHost" | "host">,
  { containerId, command, choice }: Exec,
  { size, started }: { readonly size: TerminalSize | undefined; readonly started: (exec: RunningExec) => void },
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    const record = stillRunning(d, containerId);
    const process = execProcess(d.containerHost.readProcess(containerId), command, choice.tty);
    const tooLarge = tooLargeProblem(d, record.handler, process);
    if (tooLarge !== undefined) return { is: "not run", ...tooLarge };
    if (size !== undefined) process.consoleSize = { height: size.rows, width: size.columns };
    const { runtime } = d.runtimes.handlerOf(record.handler);
    try {
      const exec = await runtime.execStreams(execContainerOf(d, record), process, choice.stdin, signal);
      started(exec);
      return { is: "exited", exitCode: await exec.ended };
    } catch (error) {
      // FailedPrecondition: the runtime did not start it. Whatever it says, the files show why.
      const problem =
        codeOf(error) === Code.FailedPrecondition
          ? await d.containerHost.commandProblem(containerId, process)
          : undefined;
      if (problem === undefined) throw error;
      return { is: "not run", ...problem };
    }
  } catch (error) {
    return { is: "failed", message: messageOf(error) };
  }
}
