import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { temporaryDirectory } from "./temporary-directory.ts";

/** The directory of the pinned Node's C headers. Throws when it is not installed. */
export function nodeHeaders(): string {
  const pinned = createRequire(import.meta.url).resolve(`node-linux-${process.arch}/package.json`);
  return join(dirname(pinned), "include/node");
}

/** Compiles a C program of native/testing for a test; returns its path. */
export function compile(t: TestContext, name: string): string {
  const program = join(temporaryDirectory(t), name);
  const source = join(import.meta.dirname, "../../native/testing", `${name}.c`);
  const flags = ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", `-I${nodeHeaders()}`];
  execFileSync(process.env["CC"] ?? "cc", [...flags, source, "-o", program], { stdio: "pipe" });
  return program;
}
