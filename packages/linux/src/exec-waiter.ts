import { builtFile } from "./native.ts";

/**
 * The program and first arguments of a call that runs a runtime's detached exec and waits for the command:
 * `PROGRAM pidFile RUNTIME ARGS…`. It exits as the command does (native/exec-waiter.c).
 */
export function execWaiter(pidFile: string): { readonly file: string; readonly args: readonly string[] } {
  return { file: builtFile("exec-waiter"), args: [pidFile] };
}
