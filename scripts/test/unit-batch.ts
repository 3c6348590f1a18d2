/**
 * Runs unit test files in one process, one after the other, each as a suite named after the file: starting Node and
 * loading the modules that the files share takes longer than most files do.
 *
 *     bin/node scripts/test/unit-batch.ts CLAIMS FILE...
 *
 * Several batches share the files: whoever makes the file's entry in the directory CLAIMS first runs it. A file that
 * changes the process for those after it fails.
 */
import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { after, mock, suite } from "node:test";
import { pathToFileURL } from "node:url";
import { measure } from "@keelson/testkit/file-times.ts";
import { failOnLingering } from "@keelson/testkit/lingering.ts";
import { slowness } from "@keelson/testkit/wait.ts";

// Files that print times set it, and each would change it for the files after it.
process.env["TZ"] = "UTC";
const fileTimeoutMs = 120_000 * slowness;
const [claims = "", ...files] = process.argv.slice(2);

failOnLingering("a process of unit tests");
for (const [index, file] of files.entries()) {
  if (!claim(join(claims, String(index)))) continue;
  const { promise: isOver, resolve: over } = Promise.withResolvers<void>();
  const measured = measure(file);
  const before = surroundings();
  void suite(file, { timeout: fileTimeoutMs }, async () => {
    try {
      await import(pathToFileURL(file).href);
    } finally {
      // After the file's own `after`, because those run in the order of their registration.
      after(() => {
        measured();
        mock.reset();
        over();
        assert.deepEqual(surroundings(), before, `${file} changes the process for the files after it`);
      });
    }
  });
  await isOver;
}

function claim(path: string): boolean {
  try {
    closeSync(openSync(path, "wx"));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** What all files in a process share. */
function surroundings() {
  return { cwd: process.cwd(), env: { ...process.env }, umask: process.umask(), title: process.title };
}
