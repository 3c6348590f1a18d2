import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** Compiles one of the C programs beside this file to a static one, that runs in a container without libraries. Needs gcc and libc6-dev. */
export function compileProgram(name: string, output: string): void {
  execFileSync("gcc", [
    "-static",
    "-O1",
    "-pthread",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-o",
    output,
    join(import.meta.dirname, "programs", `${name}.c`),
  ]);
}
