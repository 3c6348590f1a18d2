import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

/**
 * Runs the tests of a file in a second process with a mount namespace of its own, so that no mount is left behind, whatever
 * happens. Returns an empty directory there, which is removed afterwards, and undefined in the first process:
 * `const base = ownMounts(import.meta.url); if (base !== undefined) { test(…) }`
 */
export function ownMounts(url: string): string | undefined {
  const file = fileURLToPath(url);
  if (process.env.KEELSON_OWN_MOUNTS_FILE === file) return process.env.KEELSON_OWN_MOUNTS;
  test("in a mount namespace of its own", (t) => {
    if (process.getuid?.() !== 0) return t.skip("needs root");
    const base = mkdtempSync(join(tmpdir(), "keelson-linux-"));
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const result = spawnSync(
      "unshare",
      ["-m", "--propagation", "private", process.execPath, "--test", "--test-reporter=spec", file],
      {
        env: { ...env, KEELSON_OWN_MOUNTS_FILE: file, KEELSON_OWN_MOUNTS: base },
        encoding: "utf8",
      },
    );
    rmSync(base, { recursive: true });
    if (result.status !== 0) throw new Error(`${result.stdout}\n${result.stderr}`);
    t.diagnostic(/^. tests \d+$/m.exec(result.stdout)?.[0] ?? "");
    return undefined;
  });
  return undefined;
}
