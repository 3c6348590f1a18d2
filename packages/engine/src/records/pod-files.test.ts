import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { etcFiles } from "./pod-files.ts";

test("the files of a pod that version 0.1.0 made are found where it put them", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-pod-files-"));
  t.after(() => rmSync(dir, { recursive: true }));
  assert.equal(etcFiles(dir).hosts, join(dir, "etc/hosts"));
  writeFileSync(join(dir, "hostname"), "old\n");
  assert.deepEqual(
    Object.values(etcFiles(dir)),
    ["hosts", "hostname", "resolv.conf"].map((name) => join(dir, name)),
  );
  mkdirSync(join(dir, "etc"));
  assert.equal(etcFiles(dir).resolvConf, join(dir, "etc/resolv.conf"));
});
