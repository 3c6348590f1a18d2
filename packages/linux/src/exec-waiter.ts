import { builtFile } from "./native.ts";

/**
 * The arguments before a runtime's own that make its exec wait for a command that it leaves to itself: `PROGRAM pidFile
 * RUNTIME ARGS…`, which ends as the command does. See native/exec-waiter.c.
 */
export function execWaiter(pidFile: string): { readonly file: string; readonly args: readonly string[] } {
  return { file: builtFile("exec-waiter"), args: [pidFile] };
}
