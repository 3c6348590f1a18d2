import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Log } from "@keelson/base/log.ts";
import { appArmorProfile } from "@keelson/plan/apparmor-profile.ts";
import { isAppArmorProfileLoaded, loadDefaultAppArmor } from "./apparmor.ts";

function setUp(t: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-apparmor-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const warnings: string[] = [];
  const log: Log = { debug: () => {}, info: () => {}, warn: (_, text) => void warnings.push(text), error: () => {} };
  const parser = (script: string) => {
    const path = join(dir, "apparmor_parser");
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  return { dir, warnings, log, parser };
}

test("the default profile is passed to the parser, and its name returned", async (t) => {
  const { dir, warnings, log, parser } = setUp(t);
  assert.equal(await loadDefaultAppArmor(parser(`cat >${dir}/given; echo "$@" >${dir}/args`), log), "keelson-default");
  assert.equal(readFileSync(join(dir, "given"), "utf8"), appArmorProfile());
  assert.equal(readFileSync(join(dir, "args"), "utf8"), "--replace --skip-cache\n");
  assert.deepEqual(warnings, []);
});

test("without the parser, or when it fails, there is no default profile and the log says why", async (t) => {
  const { warnings, log, parser } = setUp(t);
  assert.equal(await loadDefaultAppArmor(undefined, log), "");
  assert.equal(await loadDefaultAppArmor(parser("exit 1"), log), "");
  assert.equal(await loadDefaultAppArmor("/no/such/parser", log), "");
  assert.match(warnings[0]!, /install the package apparmor/);
  assert.equal(warnings.length, 3);
});

test("a profile is loaded when the kernel lists exactly its name", (t) => {
  const { dir } = setUp(t);
  const list = join(dir, "profiles");
  writeFileSync(list, "keelson-default (enforce)\n/usr/sbin/my (x) tool (complain)\nrunc (unconfined)\n");
  const loaded = ["keelson-default", "/usr/sbin/my (x) tool", "runc"];
  assert.deepEqual(
    loaded.map((name) => isAppArmorProfileLoaded(name, list)),
    [true, true, true],
  );
  assert.deepEqual(
    ["keelson", "default (enforce)", "tool"].map((name) => isAppArmorProfileLoaded(name, list)),
    [false, false, false],
  );
  assert.equal(isAppArmorProfileLoaded("x", join(dir, "none")), undefined);
});

test("the profile protects the machine, in rules that end as apparmor.d(5) requires", () => {
  const lines = appArmorProfile().trimEnd().split("\n");
  assert.equal(lines[0], "profile keelson-default flags=(attach_disconnected,mediate_deleted) {");
  assert.equal(lines.at(-1), "}");
  for (const line of lines.slice(1, -1)) assert.match(line, /^ {2}\S.*,$/);
  for (const rule of ["deny mount,", "deny /proc/sys/vm/** wklx,", "deny /sys/fs/[^c]*/** wklx,"])
    assert.ok(lines.includes(`  ${rule}`), rule);
});
