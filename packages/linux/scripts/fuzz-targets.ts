/** The fuzz targets of fuzz/*.c: what they are called, how they are compiled, and with what they begin. */
import { execFileSync } from "node:child_process";
import { globSync, mkdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { nodeHeaders } from "../src/testing/compile.ts";

const directory = join(import.meta.dirname, "../fuzz");
/** It gives a target the files of a corpus, in libFuzzer's place. */
const replay = join(directory, "replay.c");

export function fuzzTargets(): string[] {
  return globSync("*.c", { cwd: directory })
    .map((name) => basename(name, ".c"))
    .filter((name) => name !== "replay")
    .sort();
}

/** Inputs to begin with, one a file. */
export function corpusOf(target: string): string {
  return join(directory, "corpus", target);
}

/** Compiles a target to `program`: with clang as a libFuzzer program, else as one that runs the files it is given. */
export function compileTarget(target: string, program: string, compiler: "clang" | "cc"): void {
  const sanitizers = compiler === "clang" ? "fuzzer,address,undefined" : "address,undefined";
  mkdirSync(dirname(program), { recursive: true });
  execFileSync(
    compiler,
    [
      "-std=gnu17",
      "-Wall",
      "-Wextra",
      "-Werror",
      "-Wno-unused-function",
      "-O1",
      "-g",
      "-fno-omit-frame-pointer",
      `-fsanitize=${sanitizers}`,
      "-fno-sanitize-recover=all",
      `-I${nodeHeaders()}`,
      join(directory, `${target}.c`),
      ...(compiler === "clang" ? [] : [replay]),
      "-o",
      program,
      // The functions of Node-API, which no target calls.
      "-no-pie",
      "-Wl,--unresolved-symbols=ignore-all",
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
}
