import { builtFile } from "./native.ts";

/** What `PROGRAM start` ends with when nobody stands for the container any more. */
export const standInEnded = 75;

/** Where the program is that stands for a container in a gVisor sandbox, and starts one (native/gvisor-stand-in.c has its ways of being called). */
export function gvisorStandInProgram(): string {
  return builtFile("gvisor-stand-in");
}
