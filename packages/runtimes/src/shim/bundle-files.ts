import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { Bootstrap } from "@keelson/shim/bootstrap.ts";
import * as v from "valibot";
import type { ExitReport } from "../runtime.ts";

/** What a shim's runtime keeps in a bundle for a daemon after this one: which shim has the container, and how that ended. */

const shimSchema = v.object({
  version: v.picklist([2, 3]),
  address: v.pipe(v.string(), v.startsWith("unix:///")),
  identity: v.object({ pid: v.number(), startTicks: v.number() }),
});

const exitSchema = v.object({
  exitCode: v.number(),
  finishedAtNs: v.pipe(v.string(), v.regex(/^\d+$/)),
  oomKilled: v.boolean(),
});

export interface KnownShim {
  readonly bootstrap: Bootstrap;
  readonly identity: ProcessIdentity;
}

export function writeShim(bundleDir: string, { bootstrap, identity }: KnownShim): void {
  write(join(bundleDir, "shim.json"), { ...bootstrap, identity });
}

/** undefined when the container has none, or nobody has written it down. */
export function readShim(bundleDir: string): KnownShim | undefined {
  const { version, address, identity } = read(join(bundleDir, "shim.json"), shimSchema) ?? {};
  return version === undefined || address === undefined || identity === undefined
    ? undefined
    : { bootstrap: { version, address }, identity };
}

export function writeExit(bundleDir: string, { exitCode, finishedAtNs, oomKilled }: ExitReport): void {
  write(join(bundleDir, "exit.json"), { exitCode, finishedAtNs: String(finishedAtNs), oomKilled });
}

export function readExit(bundleDir: string): ExitReport | undefined {
  const exit = read(join(bundleDir, "exit.json"), exitSchema);
  return exit === undefined ? undefined : { ...exit, finishedAtNs: BigInt(exit.finishedAtNs) };
}

export function forgetEnds(bundleDir: string): void {
  for (const name of ["shim.json", "exit.json", "oom"]) rmSync(join(bundleDir, name), { force: true });
}

/** Bundles are gone with the next boot, so nothing has to reach a disk; a reader sees all of it or nothing. */
function write(path: string, value: object): void {
  namingFile(path, () => writeFileSync(`${path}.new`, JSON.stringify(value), { mode: 0o600 }));
  renameSync(`${path}.new`, path);
}

function read<T>(path: string, schema: v.GenericSchema<unknown, T>): T | undefined {
  try {
    return v.parse(schema, JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
