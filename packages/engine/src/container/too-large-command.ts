import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { argumentProblem } from "@keelson/plan/argument-size.ts";
import type { Handlers, Machine } from "../capabilities.ts";
import type { CommandProblem } from "../machine/command-problem.ts";

/**
 * Why a process cannot be executed because of the size of its arguments and environment. Found out before the runtime is
 * asked: most runtimes' own process then ends as if it were the command. Undefined when they fit, and for a handler
 * whose pods are containers: in those another kernel executes the process, and gVisor's has no such limits.
 */
export function tooLargeProblem(
  { runtimes, host }: Pick<Handlers, "runtimes"> & Pick<Machine, "host">,
  handler: string,
  process: ProcessSpec,
): CommandProblem | undefined {
  if (runtimes.handlerOf(handler).facts.sandbox === "container") return undefined;
  const message = argumentProblem(process, host.stackLimitBytes);
  return message === undefined ? undefined : { exitCode: 126, message };
}
