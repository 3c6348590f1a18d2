import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

/**
 * For tests: runs the tests of a file in a mount namespace of their own, in a second process, so that no mount is left
 * behind whatever happens. `if (inOwnMounts(import.meta.url)) { test(…) }`
 */
export function inOwnMounts(url: string): boolean {
  const file = fileURLToPath(url);
  if (process.env.KEELSON_OWN_MOUNTS === file) return true;
  test("in a mount namespace of its own", (t) => {
    if (process.getuid?.() !== 0) return t.skip("needs root");
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const result = spawnSync("unshare", ["-m", "--propagation", "private", process.execPath, "--test", "--test-reporter=spec", file], {
      env: { ...env, KEELSON_OWN_MOUNTS: file },
      encoding: "utf8",
    });
    if (result.status !== 0) throw new Error(`${result.stdout}\n${result.stderr}`);
    t.diagnostic(/^. tests \d+$/m.exec(result.stdout)?.[0] ?? "");
    return undefined;
  });
  return false;
}
