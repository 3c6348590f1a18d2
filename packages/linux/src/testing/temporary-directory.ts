import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** An empty directory, by a path without links, that is removed after the test. */
export function temporaryDirectory(t: TestContext): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "keelson-linux-")));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}
