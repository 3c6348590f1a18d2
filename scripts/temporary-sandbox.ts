import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inOwnSandbox, reexecInSandbox } from "@keelson/testkit/host-sandbox.ts";

/**
 * Starts the running script again in a sandbox with its own network, where it returns the path of an empty temporary
 * directory. Await it before changing anything. However the sandbox ends, its processes and mounts end with it, and
 * then the directory is removed from outside.
 */
export async function enterTemporarySandbox(prefix: string): Promise<string> {
  if (!inOwnSandbox()) process.env["KEELSON_TEMPORARY"] = makeTemporary(prefix);
  await reexecInSandbox({ net: true });
  const dir = process.env["KEELSON_TEMPORARY"];
  if (dir === undefined)
    throw new Error("KEELSON_TEMPORARY is not set: the sandbox was not entered by enterTemporarySandbox");
  return dir;
}

/** An empty temporary directory, removed when this process exits, unless something is still mounted in it. */
export function makeTemporary(prefix: string): string {
  const dir = mkdtempSync(join(tmpdir(), prefix));
  process.once("exit", () => {
    if (readFileSync("/proc/self/mountinfo", "utf8").includes(` ${dir}/`))
      console.error(`${dir} stays: something is still mounted in it`);
    else rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}
