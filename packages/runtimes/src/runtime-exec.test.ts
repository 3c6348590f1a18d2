import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { ExecOutput } from "./exec-output.ts";
import { RuntimeCommand } from "./runtime-command.ts";
import { RuntimeExec } from "./runtime-exec.ts";
import type { RuntimeContainer } from "./runtime.ts";

test("a daemon's commands do not have the files of those that an earlier one ran, which it may still be ending", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-exec-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "runtime");
  writeFileSync(path, `#!/bin/sh\nfor word; do case "$word" in *.json) echo "$word" >>${dir}/used;; esac; done\n`);
  chmodSync(path, 0o755);
  writeFileSync(join(dir, "config.json"), "{}");
  const container: Partial<RuntimeContainer> = { id: "c", bundleDir: dir };
  for (let daemon = 0; daemon < 3; daemon += 1) {
    const command = new RuntimeCommand({ name: "r", path, root: dir, args: [], systemdCgroup: false });
    const exec = new RuntimeExec({ command, detaches: false, kill: () => {} });
    const process = { args: ["true"], cwd: "/", user: { uid: 0, gid: 0 }, env: [] };
    using output = new ExecOutput(() => true);
    await exec.run(container as RuntimeContainer, process, output, AbortSignal.timeout(10_000));
  }
  const used = readFileSync(join(dir, "used"), "utf8").trim().split("\n");
  assert.equal(new Set(used).size, 3, used.join(" "));
  for (const file of used) assert.match(basename(file), /^exec-\d+\.json$/);
  assert.deepEqual(readdirSync(dir).sort(), ["config.json", "runtime", "used"]);
});
