import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { Bootstrap } from "@keelson/shim/bootstrap.ts";
import * as v from "valibot";
import type { ExitReport, RuntimeContainer } from "../runtime.ts";

/**
 * What is kept in a bundle for the next daemon: that a shim may hold something of the container, which shim that is,
 * whether memory ran out, and how the container ended.
 */

/** What tearing a container down needs to know about it. */
export type Bundle = Pick<RuntimeContainer, "id" | "bundleDir">;

const shimSchema = v.object({
  version: v.picklist([2, 3]),
  address: v.pipe(v.string(), v.regex(/^unix:\/\/[/@]/)),
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

/** Marks a bundle: from now on a shim of this handler may hold something of its container. */
export function markBundle(bundleDir: string, handler: string): void {
  writeFileSync(markIn(bundleDir, handler), "");
}

export function isMarked(bundleDir: string, handler: string): boolean {
  return existsSync(markIn(bundleDir, handler));
}

export function unmarkBundle(bundleDir: string, handler: string): void {
  rmSync(markIn(bundleDir, handler), { force: true });
}

export function writeShim(bundleDir: string, { bootstrap, identity }: KnownShim): void {
  write(join(bundleDir, "shim.json"), { ...bootstrap, identity });
}

/** undefined when the container has no shim, or its shim was never recorded. */
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

export function writeOutOfMemory(bundleDir: string): void {
  writeFileSync(join(bundleDir, "oom"), "");
}

export function readOutOfMemory(bundleDir: string): boolean {
  return existsSync(join(bundleDir, "oom"));
}

/** Removes what an earlier container of the same bundle has left. */
export function forgetEnds(bundleDir: string): void {
  for (const name of ["shim.json", "exit.json", "oom"]) rmSync(join(bundleDir, name), { force: true });
}

function markIn(bundleDir: string, handler: string): string {
  return join(bundleDir, `shim-of-${handler}`);
}

/** Bundles do not outlive a boot, so nothing has to reach a disk; a reader sees the whole file or none. */
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
