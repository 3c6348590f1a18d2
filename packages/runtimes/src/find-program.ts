import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { basename, delimiter, join, resolve } from "node:path";

/** The absolute path of a program given by path or name. */
export function findBinary(pathOrName: string): string | undefined {
  const found = findProgram(pathOrName);
  return found === undefined ? undefined : realpathSync(found);
}

/** The same without resolving links: some programs behave according to the name they are called by. */
export function findProgram(pathOrName: string): string | undefined {
  const dirs = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
  ];
  const candidates = pathOrName.includes("/") ? [pathOrName] : dirs.map((dir) => join(dir, pathOrName));
  return candidates.map((path) => resolve(path)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Where to get programs, by name. */
const sources: Readonly<Record<string, string>> = {
  "containerd-shim-runc-v2": "the package containerd has it",
  "containerd-shim-kata-v2": "Kata Containers has it",
  "containerd-shim-runsc-v1": "gVisor has it",
  conmon: "a package of that name has it",
  crun: "a package of that name has it",
  runc: "a package of that name has it",
  runsc: "it is gVisor's; on Debian 12 take that of bookworm-backports",
};

/** What to do about a program that is missing or does not work. */
export function installHint(pathOrName: string): string {
  const name = basename(pathOrName);
  return `install ${name}${Object.hasOwn(sources, name) ? ` (${sources[name]})` : ""}`;
}
