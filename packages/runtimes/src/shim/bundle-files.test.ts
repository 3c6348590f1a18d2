import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { forgetEnds, readExit, readShim, writeExit, writeShim } from "./bundle-files.ts";

test("what is written in a bundle is read by the next daemon, and forgotten when the container is created again", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-bundle-"));
  t.after(() => rmSync(dir, { recursive: true }));
  assert.deepEqual([readShim(dir), readExit(dir)], [undefined, undefined]);
  const identity = { pid: 7, startTicks: 8 };
  const shim = { bootstrap: { version: 3, address: "unix:///run/s" }, identity } as const;
  const exit = { exitCode: 137, finishedAtNs: 1_795_257_850_946_635_740n, oomKilled: true };
  writeShim(dir, shim);
  writeExit(dir, exit);
  assert.deepEqual([readShim(dir), readExit(dir)], [shim, exit]);
  const abstract = { bootstrap: { version: 2, address: "unix://@/run/s" }, identity } as const;
  writeShim(dir, abstract);
  assert.deepEqual(readShim(dir), abstract);
  forgetEnds(dir);
  assert.deepEqual([readShim(dir), readExit(dir)], [undefined, undefined]);
});

test("a file that is not ours is an error, not a shim", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-bundle-"));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const content of ["", "{}", '{"version":3,"address":"tcp://x","identity":{"pid":1,"startTicks":2}}', "null"]) {
    writeFileSync(join(dir, "shim.json"), content);
    assert.throws(() => readShim(dir), content);
  }
});
