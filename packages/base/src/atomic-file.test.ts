import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { writeFileAtomic } from "./atomic-file.ts";

test("it replaces the content, sets the mode and leaves no temporary file, even when it fails", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "keelson-atomic-"));
  t.after(() => rm(dir, { recursive: true }));
  const path = join(dir, "state.json");
  await writeFileAtomic(path, "one");
  await writeFileAtomic(path, "two", 0o600);
  assert.equal(await readFile(path, "utf8"), "two");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await assert.rejects(writeFileAtomic(dir, "a directory is in the way"));
  assert.deepEqual(await readdir(dir), ["state.json"]);
});
