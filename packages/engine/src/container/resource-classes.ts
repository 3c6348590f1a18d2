import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { deviceNumbers } from "@keelson/linux/device-numbers.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { IntelRdtSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { BlockIoSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import {
  blockIoSpec,
  type ClassRequest,
  parseBlockIoClasses,
  parseRdtClasses,
  type ResourceClasses,
} from "@keelson/plan/resource-classes.ts";

/** The files that define classes; read when a container asks for one. */
export interface ClassFiles {
  readonly blockIo: string;
  readonly rdt: string;
}

const maxFileBytes = 1024 * 1024;

/**
 * What the classes of a container stand for. Throws FailedPrecondition, naming annotation and class, for one that is
 * not defined, and for RDT when the kernel's resctrl is not mounted.
 */
export async function resolveClasses(
  classes: ResourceClasses,
  files: ClassFiles,
  host: HostFacts,
): Promise<{ blockIO?: BlockIoSpec; intelRdt?: IntelRdtSpec }> {
  const { blockIo, rdt } = classes;
  return {
    ...(blockIo === undefined ? {} : { blockIO: await resolveBlockIo(blockIo, files.blockIo) }),
    ...(rdt === undefined ? {} : { intelRdt: await resolveRdt(rdt, files.rdt, host) }),
  };
}

async function resolveBlockIo(asked: ClassRequest, file: string): Promise<BlockIoSpec> {
  const parts = ownClass(await readClasses(file, parseBlockIoClasses), asked.name);
  if (parts === undefined) throw refused(asked, `it is not defined in ${file}`);
  return blockIoSpec(parts, blockDevices);
}

async function resolveRdt(asked: ClassRequest, file: string, host: HostFacts): Promise<IntelRdtSpec> {
  if (!host.resctrlMounted)
    throw refused(asked, "this machine has no such classes: resctrl is not mounted at /sys/fs/resctrl");
  const defined = ownClass(await readClasses(file, parseRdtClasses), asked.name);
  if (defined !== undefined) return defined;
  // One that the administrator made.
  if (existsSync(join("/sys/fs/resctrl", asked.name, "schemata"))) return { closID: asked.name };
  throw refused(asked, `it is not defined in ${file}, and there is no /sys/fs/resctrl/${asked.name}`);
}

function ownClass<T>(classes: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(classes, name) ? classes[name] : undefined;
}

/** No classes when there is no file. */
async function readClasses<T extends object>(
  file: string,
  parseClasses: (value: unknown) => T,
): Promise<T | Record<string, never>> {
  try {
    const { size } = statSync(file);
    if (size > maxFileBytes)
      throw new StatusError(Code.FailedPrecondition, `has ${size} bytes; at most ${maxFileBytes} are read`);
    const { parse } = await import("yaml");
    return parseClasses(parse(readFileSync(file, "utf8"), { maxAliasCount: 100, logLevel: "error" }));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return {};
    throw new StatusError(
      Code.FailedPrecondition,
      `resource classes ${file}: ${messageOf(error).split("\n", 1)[0]!}`,
      error,
    );
  }
}

/** A pattern that matches nothing is no error: the machines of a pool share the file but not the disks. */
function blockDevices(pattern: string): { major: number; minor: number }[] {
  return globSync(pattern)
    .sort()
    .flatMap((path) => {
      try {
        const found = deviceNumbers(statSync(path));
        return found?.type === "b" ? [{ major: found.major, minor: found.minor }] : [];
      } catch (error) {
        if (isErrno(error, "ENOENT")) return [];
        throw error;
      }
    });
}

function refused({ name, annotation }: ClassRequest, problem: string): StatusError {
  return new StatusError(
    Code.FailedPrecondition,
    `annotations[${annotation}] asks for the class ${JSON.stringify(name)}: ${problem}`,
  );
}
