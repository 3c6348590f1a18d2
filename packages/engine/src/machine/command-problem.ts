import { constants } from "node:fs";
import type { BeneathLooker, SeenFile } from "@keelson/linux/look-beneath.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { quote } from "@keelson/plan/field-check.ts";
import { ContainerFiles, type FoundFile } from "./container-files.ts";
import { elfProblem } from "./elf-problem.ts";

const { S_IFMT, S_IFDIR, S_IFREG } = constants;

/** Why a container's command cannot be executed. */
export interface CommandProblem {
  /** As in shells: 127 for a command that is not found, 126 for one that cannot be run here. */
  readonly exitCode: 126 | 127;
  /** A sentence for people, which begins with the command. */
  readonly message: string;
}

/** What the answer depends on. */
interface Container {
  readonly process: ProcessSpec;
  readonly files: ContainerFiles;
  /** As Node's `process.arch`. */
  readonly arch: string;
  /** Whether this machine has formats other than ELF and scripts (binfmt_misc), so that an unknown one may run. */
  readonly otherFormats: boolean;
  /** Whether ids on disk are those of the container. In a user namespace they are not, and modes say nothing. */
  readonly idsAreReal: boolean;
}

/**
 * Finds out why the first process of a container could not be executed: each runtime has its own words for it, and some
 * say it only in the container's log. After a failure; the container may run and change its files meanwhile. Undefined
 * when the command looks right, and when that cannot be seen from outside, such as on a file system that does not
 * answer until the looker's signal aborts.
 */
export async function commandProblem(
  looker: BeneathLooker,
  spec: Spec,
  arch: string,
  otherFormats: boolean,
): Promise<CommandProblem | undefined> {
  const { process, root } = spec;
  const command = process?.args?.[0];
  if (process === undefined || root === undefined || command === undefined) return undefined;
  const name = `the command ${quote(command)}`;
  try {
    const container: Container = {
      process,
      files: await ContainerFiles.of(looker, root.path, spec.mounts ?? []),
      arch,
      otherFormats,
      idsAreReal: spec.linux?.uidMappings === undefined,
    };
    if (command.includes("/")) return await fileProblem(container, name, absolute(process.cwd, command));
    return await searchProblem(container, name, command);
  } catch {
    // This only explains a failure: paths that are too long, loops of links and files that vanish leave it unexplained.
    return undefined;
  }
}

/** execvp(3) takes the first such file in PATH that may be executed. */
async function searchProblem(c: Container, name: string, command: string): Promise<CommandProblem | undefined> {
  const path = c.process.env?.findLast((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? "";
  let first: CommandProblem | undefined;
  for (const dir of path.split(":")) {
    const file = absolute(c.process.cwd, `${dir}/${command}`);
    if ((await c.files.find(file)) === undefined) continue;
    const problem = await fileProblem(c, name, file);
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

async function fileProblem(c: Container, name: string, path: string): Promise<CommandProblem | undefined> {
  const found = await c.files.find(path);
  if (found === "hidden") return undefined;
  if (found === undefined)
    return notFound(
      `${name} does not exist: the container has no file ${quote(path)}; check its spelling, or use an image that has it`,
    );
  const { seen } = found;
  const kind = seen.mode & S_IFMT;
  if (kind === S_IFDIR) return cannotRun(`${name} is a directory; name a program in it`);
  if (kind !== S_IFREG) return cannotRun(`${name} is not a regular file; name a program`);
  if (c.idsAreReal && !mayExecute(c.process, seen)) {
    return cannotRun(
      `${name} may not be executed by user ${c.process.user.uid}: its mode is ${(seen.mode & 0o7777).toString(8).padStart(4, "0")}; give it execute permission in the image (chmod +x)`,
    );
  }
  return contentProblem(c, name, found);
}

/** What execve(2) would make of the first bytes. */
async function contentProblem(c: Container, name: string, found: FoundFile): Promise<CommandProblem | undefined> {
  const read = (at: number, length: number) => c.files.read(found, at, length);
  const start = await read(0, 256);
  if (start.toString("latin1", 0, 2) === "#!") return scriptProblem(c, name, start);
  if (start.toString("latin1", 0, 4) !== "\x7fELF")
    return c.otherFormats ? undefined : formatProblem(name, found.seen.size);
  const elf = await elfProblem(read, c.arch);
  if (elf?.is === "loader" && (await c.files.find(elf.path)) === undefined) {
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
}

function formatProblem(name: string, size: number): CommandProblem {
  if (size === 0) return cannotRun(`${name} is an empty file; build the image again`);
  return cannotRun(
    `${name} is neither a Linux program nor a script with an interpreter; begin a script with a line such as #!/bin/sh`,
  );
}

/** The line that execve(2) reads: an interpreter and at most one argument. */
async function scriptProblem(c: Container, name: string, start: Buffer): Promise<CommandProblem | undefined> {
  const line = start.toString("utf8").split("\n")[0]!.slice(2);
  const interpreter = line.trim().split(/[ \t]/)[0]!;
  if (interpreter === "")
    return cannotRun(`${name} is a script whose first line names no interpreter after #!; write one such as #!/bin/sh`);
  const path = absolute(c.process.cwd, interpreter);
  if ((await c.files.find(path)) !== undefined && !line.endsWith("\r")) return undefined;
  // To the kernel the carriage return is part of the name, or of the argument.
  if (line.endsWith("\r"))
    return notFound(
      `${name} is a script with Windows line endings: its interpreter is read as ${quote(line)}; save it with Unix line endings`,
    );
  return notFound(
    `${name} is a script for the interpreter ${quote(interpreter)}, which the container does not have; use an image that has it, or change the script's first line`,
  );
}

/** path_resolution(7), "Permissions". For root one execute bit is enough (capabilities(7), CAP_DAC_OVERRIDE). */
function mayExecute({ user }: ProcessSpec, seen: SeenFile): boolean {
  if (user.uid === 0) return (seen.mode & 0o111) !== 0;
  if (user.uid === seen.uid) return (seen.mode & 0o100) !== 0;
  const groups = [user.gid, ...(user.additionalGids ?? [])];
  return (seen.mode & (groups.includes(seen.gid) ? 0o010 : 0o001)) !== 0;
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
