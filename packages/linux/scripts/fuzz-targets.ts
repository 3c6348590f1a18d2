/** The fuzz targets of fuzz/*.c: what they are called, how they are compiled, and with what they begin. */
import { execFileSync } from "node:child_process";
import { globSync, mkdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { nodeHeaders } from "../src/testing/compile.ts";

const directory = join(import.meta.dirname, "../fuzz");
/** Gives a target the files of a corpus, in libFuzzer's place. */
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

const warnings = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"];
const checks = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"];
/** The functions of Node-API are missing, and no target calls them. */
const link = ["-no-pie", "-Wl,--unresolved-symbols=ignore-all"];

/** Compiles a target to `program`: with clang as a libFuzzer program, else as one that runs the files it is given. */
export function compileTarget(target: string, program: string, compiler: "clang" | "cc"): void {
  const sources = [join(directory, `${target}.c`), ...(compiler === "clang" ? [] : [replay])];
  const sanitizers = `-fsanitize=${compiler === "clang" ? "fuzzer," : ""}address,undefined`;
  mkdirSync(dirname(program), { recursive: true });
  const args = [...warnings, ...checks, sanitizers, `-I${nodeHeaders()}`, ...sources, "-o", program, ...link];
  execFileSync(compiler, args, { stdio: ["ignore", "inherit", "inherit"] });
}
