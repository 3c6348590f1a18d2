import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inOwnSandbox, reexecInSandbox } from "@keelson/testkit/host-sandbox.ts";

/**
 * Starts the running script again in a sandbox with a network of its own, and returns there the path of an empty
 * temporary directory. To be awaited before anything is changed. Whatever ends the sandbox, its processes and
 * mounts end with it, and then, from outside, the directory goes.
 */
export async function enterTemporarySandbox(prefix: string): Promise<string> {
  if (!inOwnSandbox()) {
    const made = mkdtempSync(join(tmpdir(), prefix));
    process.env["KEELSON_TEMPORARY"] = made;
    process.once("exit", () => rmSync(made, { recursive: true, force: true }));
  }
  await reexecInSandbox({ net: true });
  const dir = process.env["KEELSON_TEMPORARY"];
  if (dir === undefined) throw new Error("KEELSON_TEMPORARY is not set: the sandbox was not entered by enterTemporarySandbox");
  return dir;
}
