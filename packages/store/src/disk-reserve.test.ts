import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DiskReserve } from "./disk-reserve.ts";

test("room is really held, given up once, and taken again", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-reserve-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "reserve");
  const reserve = new DiskReserve(path);
  assert.equal(reserve.release(), false);
  reserve.hold();
  assert.ok(statSync(path).blocks * 512 >= 1024 * 1024);
  assert.equal(reserve.release(), true);
  assert.equal(reserve.release(), false);
  writeFileSync(path, "cut short by a crash");
  reserve.hold();
  assert.equal(statSync(path).size, 1024 * 1024);
});

test("where there is no room, nothing is left in its place", () => {
  const reserve = new DiskReserve("/proc/keelson-reserve");
  reserve.hold();
  assert.equal(reserve.release(), false);
});
