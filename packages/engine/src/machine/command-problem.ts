import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats } from "node:fs";
import { isErrno } from "@keelson/linux/errno.ts";
import type { MountSpec, ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { quote } from "@keelson/plan/field-check.ts";
import { elfProblem } from "./elf-problem.ts";
import { resolveInRoot } from "./root-file.ts";

/** Why a container's command cannot be executed. */
export interface CommandProblem {
  /** As in shells: 127 for a command that is not found, 126 for one that cannot be run here. */
  readonly exitCode: 126 | 127;
  /** A sentence for people, which begins with the command. */
  readonly message: string;
}

/** What a lookup depends on: files as a process of the container finds them. */
interface Container {
  readonly process: ProcessSpec;
  readonly root: string;
  readonly mounts: readonly Mounted[];
  /** As Node's `process.arch`. */
  readonly arch: string;
  /** Whether this machine has formats other than ELF and scripts (binfmt_misc), so that an unknown one may run. */
  readonly otherFormats: boolean;
  /** Whether ids on disk are those of the container. In a user namespace they are not, and modes say nothing. */
  readonly idsAreReal: boolean;
}

interface Mounted {
  readonly destination: string;
  /** Undefined when it is not a directory or file of the host. */
  readonly source: string | undefined;
}

/**
 * Finds out why the first process of a container could not be executed: each runtime has its own words for it, and some
 * say it only in the container's log. For a container that was created and does not run, after a failure. Undefined
 * when the command looks right, or when that cannot be seen from outside.
 */
export function commandProblem(spec: Spec, arch: string, otherFormats: boolean): CommandProblem | undefined {
  const { process, root } = spec;
  const command = process?.args?.[0];
  if (process === undefined || root === undefined || command === undefined) return undefined;
  const name = `the command ${quote(command)}`;
  try {
    const mounts = mountedAt(root.path, spec.mounts ?? []);
    const container: Container = {
      process,
      root: root.path,
      mounts,
      arch,
      otherFormats,
      idsAreReal: spec.linux?.uidMappings === undefined,
    };
    if (command.includes("/")) return fileProblem(container, name, absolute(process.cwd, command));
    return searchProblem(container, name, command);
  } catch {
    // This only explains a failure: paths that are too long, loops of links and files that vanish leave it unexplained.
    return undefined;
  }
}

/** execvp(3) takes the first such file in PATH that may be executed. */
function searchProblem(c: Container, name: string, command: string): CommandProblem | undefined {
  const path = c.process.env?.findLast((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? "";
  let first: CommandProblem | undefined;
  for (const dir of path.split(":")) {
    const file = absolute(c.process.cwd, `${dir}/${command}`);
    if (find(c, file) === undefined) continue;
    const problem = fileProblem(c, name, file);
    if (problem === undefined) return undefined;
    first ??= problem;
  }
  return (
    first ??
    notFound(
      `${name} is in none of the directories of the container's PATH (${quote(path)}); write its full path, or use an image that has it`,
    )
  );
}

function fileProblem(c: Container, name: string, path: string): CommandProblem | undefined {
  const found = find(c, path);
  if (found === "hidden") return undefined;
  if (found === undefined)
    return notFound(
      `${name} does not exist: the container has no file ${quote(path)}; check its spelling, or use an image that has it`,
    );
  const { hostPath, stat } = found;
  if (stat.isDirectory()) return cannotRun(`${name} is a directory; name a program in it`);
  if (!stat.isFile()) return cannotRun(`${name} is not a regular file; name a program`);
  if (c.idsAreReal && !mayExecute(c.process, stat)) {
    return cannotRun(
      `${name} may not be executed by user ${c.process.user.uid}: its mode is ${(stat.mode & 0o7777).toString(8).padStart(4, "0")}; give it execute permission in the image (chmod +x)`,
    );
  }
  return contentProblem(c, name, hostPath);
}

/** What execve(2) would make of the first bytes. */
function contentProblem(c: Container, name: string, hostPath: string): CommandProblem | undefined {
  // O_NONBLOCK: somebody may have put a FIFO there in the meantime.
  const fd = openSync(hostPath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const size = fstatSync(fd).size;
    const read = (at: number, length: number): Buffer => {
      const buffer = Buffer.alloc(Math.min(length, Math.max(0, size - at)));
      return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, at));
    };
    const start = read(0, 256);
    if (start.toString("latin1", 0, 2) === "#!") return scriptProblem(c, name, start);
    if (start.toString("latin1", 0, 4) !== "\x7fELF") return c.otherFormats ? undefined : formatProblem(name, size);
    const elf = elfProblem(read, c.arch);
    if (elf?.is === "loader" && find(c, elf.path) === undefined) {
      return notFound(
        `${name} needs the dynamic loader ${quote(elf.path)}, which the container does not have; use a statically linked program, or an image with the C library that it was built for`,
      );
    }
    if (elf?.is === "machine" && !c.otherFormats)
      return cannotRun(
        `${name} is a program for ${elf.built}, and this machine is ${elf.here}; use an image for linux/${elf.here}`,
      );
    if (elf?.is === "damaged")
      return cannotRun(`${name} is a damaged program: its ELF header is cut off; build or pull the image again`);
    return undefined;
  } finally {
    closeSync(fd);
  }
}

function formatProblem(name: string, size: number): CommandProblem {
  if (size === 0) return cannotRun(`${name} is an empty file; build the image again`);
  return cannotRun(
    `${name} is neither a Linux program nor a script with an interpreter; begin a script with a line such as #!/bin/sh`,
  );
}

/** The line that execve(2) reads: an interpreter and at most one argument. */
function scriptProblem(c: Container, name: string, start: Buffer): CommandProblem | undefined {
  const line = start.toString("utf8").split("\n")[0]!.slice(2);
  const interpreter = line.trim().split(/[ \t]/)[0]!;
  if (interpreter === "")
    return cannotRun(`${name} is a script whose first line names no interpreter after #!; write one such as #!/bin/sh`);
  const path = absolute(c.process.cwd, interpreter);
  if (find(c, path) !== undefined && !line.endsWith("\r")) return undefined;
  // To the kernel the carriage return is part of the name, or of the argument.
  if (line.endsWith("\r"))
    return notFound(
      `${name} is a script with Windows line endings: its interpreter is read as ${quote(line)}; save it with Unix line endings`,
    );
  return notFound(
    `${name} is a script for the interpreter ${quote(interpreter)}, which the container does not have; use an image that has it, or change the script's first line`,
  );
}

/** A file as a process of the container finds it; `hidden` when it is in a mount that cannot be seen from outside. */
function find(c: Container, path: string): { hostPath: string; stat: Stats } | "hidden" | undefined {
  let hidden = false;
  const hostPathOf = (inside: string): string => {
    const mount = c.mounts.findLast((m) => inside === m.destination || inside.startsWith(`${m.destination}/`));
    if (mount === undefined) return c.root + inside;
    if (mount.source === undefined) hidden = true;
    return mount.source === undefined ? c.root + inside : mount.source + inside.slice(mount.destination.length);
  };
  const resolved = resolveInRoot(c.root, path, hostPathOf);
  if (hidden) return "hidden";
  if (resolved === undefined) return undefined;
  const hostPath = hostPathOf(resolved);
  try {
    return { hostPath, stat: lstatSync(hostPath) };
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** Where each mount really is, outermost first: a destination may lead through links of the image. */
function mountedAt(root: string, mounts: readonly MountSpec[]): Mounted[] {
  return mounts
    .map((mount) => ({
      destination: resolveInRoot(root, mount.destination) ?? mount.destination,
      source: isBind(mount) ? mount.source : undefined,
    }))
    .toSorted((a, b) => a.destination.length - b.destination.length);
}

function isBind({ type, options = [] }: MountSpec): boolean {
  return type === "bind" || options.includes("bind") || options.includes("rbind");
}

/** path_resolution(7), "Permissions". For root one execute bit is enough (capabilities(7), CAP_DAC_OVERRIDE). */
function mayExecute({ user }: ProcessSpec, stat: Stats): boolean {
  if (user.uid === 0) return (stat.mode & 0o111) !== 0;
  if (user.uid === stat.uid) return (stat.mode & 0o100) !== 0;
  const groups = [user.gid, ...(user.additionalGids ?? [])];
  return (stat.mode & (groups.includes(stat.gid) ? 0o010 : 0o001)) !== 0;
}

function absolute(cwd: string, path: string): string {
  return path.startsWith("/") ? path : `${cwd}/${path}`;
}

function notFound(message: string): CommandProblem {
  return { exitCode: 127, message };
}

function cannotRun(message: string): CommandProblem {
  return { exitCode: 126, message };
}
