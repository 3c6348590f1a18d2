import { builtFile } from "./native.ts";

/** Where the program is that stands for a container in a gVisor sandbox, and starts one (native/gvisor-stand-in.c has its ways of being called). */
export function gvisorStandInProgram(): string {
  return builtFile("gvisor-stand-in");
}
