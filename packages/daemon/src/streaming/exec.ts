import { Code, codeOf, messageOf } from "@keelson/base/status.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import type { Deps } from "../deps.ts";
import { execProcess } from "../plan/process.ts";
import { ExecPumps } from "./exec-pumps.ts";
import type { Outcome } from "./exit-status.ts";
import type { RemoteStreams } from "./remote-streams.ts";
import { stillRunning } from "./running-container.ts";
import type { RemoteCommand } from "./server.ts";

type Exec = Extract<RemoteCommand, { is: "exec" }>;

/** How long a command with a terminal waits for its client to tell the terminal's size, in ms. */
const firstSizeMs = 300;

/** Runs a command in a container for a client. When the client goes away, the command is killed with all that it started. */
export async function exec(d: Deps, request: Exec, streams: RemoteStreams): Promise<void> {
  await streams.finish(await outcomeOf(d, request, streams));
}

async function outcomeOf(d: Deps, { containerId, command, choice }: Exec, streams: RemoteStreams): Promise<Outcome> {
  try {
    const container = stillRunning(d, containerId);
    const process = execProcess(d.containerHost.readProcess(containerId), command, choice.tty);
    const size = await streams.sizes?.first(firstSizeMs);
    if (size !== undefined) process.consoleSize = { height: size.rows, width: size.columns };
    const { runtime } = d.runtimes.handlerOf(container.handler);
    try {
      const exec = await runtime.execStreams(runtimeContainerOf(d, container), process, streams.signal);
      using pumps = new ExecPumps(exec.streams, streams, () => exec.stdinClosed?.());
      streams.sizes?.follow((size) => exec.resize(size));
      const exitCode = await exec.ended;
      await pumps.drained(streams.signal);
      return { is: "exited", exitCode };
    } catch (error) {
      // FailedPrecondition: the runtime has not started it. Whatever its words are, the files tell why.
      const problem = codeOf(error) === Code.FailedPrecondition ? d.containerHost.commandProblem(containerId, process) : undefined;
      if (problem === undefined) throw error;
      return { is: "not run", ...problem };
    }
  } catch (error) {
    return { is: "failed", message: messageOf(error) };
  }
}
