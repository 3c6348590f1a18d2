import { builtFile } from "./native.ts";

/** The exit code of `PROGRAM start` when the process that stood in for the container has ended. */
export const standInEnded = 75;

/**
 * The path of the program that stands in for a container in a gVisor sandbox; native/gvisor-stand-in.c has its forms.
 */
export function gvisorStandInProgram(): string {
  return builtFile("gvisor-stand-in");
}
