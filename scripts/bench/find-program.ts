import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** The absolute path of a program, in PATH or in the directories of system programs. */
export function findProgram(name: string): string | undefined {
  const dirs = [
    ...(process.env["PATH"] ?? "").split(":"),
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
  ];
  return dirs.map((dir) => join(dir, name)).find((path) => existsSync(path));
}

/** `crun 1.8.1`: the first line that a program prints for --version; only the name when it is not installed. */
export function programVersion(name: string): string {
  const path = findProgram(name);
  if (path === undefined) return name;
  const line = execFileSync(path, ["--version"], { encoding: "utf8" }).split("\n")[0] ?? "";
  return `${name} ${/\d+(\.\d+)+\S*/.exec(line)?.[0] ?? ""}`.trim();
}
