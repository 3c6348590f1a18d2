import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { streamOwnerIn } from "./stream-owner.ts";

const process = { args: ["true"], cwd: "/", env: [], user: { uid: 7, gid: 8 } };

test("a command's streams belong to its user, by the ids of the host where the spec maps them", (t) => {
  const bundleDir = mkdtempSync(join(tmpdir(), "keelson-owner-"));
  t.after(() => rmSync(bundleDir, { recursive: true }));
  const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  const linux = { uidMappings: mapping, gidMappings: mapping };
  writeFileSync(join(bundleDir, "config.json"), JSON.stringify({ ociVersion: "1.0.2", linux }));
  for (const container of [{ bundleDir }, { bundleDir, mapsIds: true }])
    assert.deepEqual(streamOwnerIn(container, process), { uid: 100_007, gid: 100_008 });
});

test("the spec of a container without mappings is not read", () => {
  const container = { bundleDir: "/nowhere", mapsIds: false };
  assert.deepEqual(streamOwnerIn(container, process), { uid: 7, gid: 8 });
});
