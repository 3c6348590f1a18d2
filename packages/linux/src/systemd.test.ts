import assert from "node:assert/strict";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { moveToScope, stopUnit } from "./systemd.ts";
import { temporaryDirectory } from "./testing/temporary-directory.ts";

/** The highest pid is 2^22 (proc_sys_kernel(5)), so that no process has this one. */
const endedPid = 2 ** 22 + 1;
const searchPath = process.env["PATH"];
const signal = AbortSignal.timeout(10_000);

/** A busctl that records its arguments, and answers with `script`. Returns where. */
function fakeBusctl(t: TestContext, script: string): string {
  const dir = temporaryDirectory(t);
  const file = join(dir, "busctl");
  writeFileSync(file, `#!/bin/sh\nfor word; do echo "$word"; done >${dir}/asked\n${script}\n`);
  chmodSync(file, 0o755);
  process.env["PATH"] = `${dir}:${searchPath}`;
  t.after(() => (process.env["PATH"] = searchPath));
  return join(dir, "asked");
}

test("a process is moved into a scope of its slice that may open no device", async (t) => {
  const asked = fakeBusctl(t, "exit 0");
  await moveToScope(endedPid, "keelson-init-1.scope", "kubepods-pod1.slice", signal);
  const words = readFileSync(asked, "utf8").trim().split("\n");
  const start = words.indexOf("StartTransientUnit");
  assert.deepEqual(words.slice(start + 1, start + 4), ["ssa(sv)a(sa(sv))", "keelson-init-1.scope", "fail"]);
  const properties = words.slice(start + 4).join(" ");
  assert.equal(
    properties,
    `4 PIDs au 1 ${endedPid} Slice s kubepods-pod1.slice CollectMode s inactive-or-failed DevicePolicy s strict 0`,
  );
});

test("systemd's words are the error when it makes no scope", async (t) => {
  fakeBusctl(t, "echo 'Call failed: Unit x.scope already exists' >&2; exit 1");
  await assert.rejects(moveToScope(endedPid, "x.scope", "y.slice", signal), {
    message: "start x.scope in y.slice: Call failed: Unit x.scope already exists",
  });
});

test("a unit that is not there needs no stop", async (t) => {
  fakeBusctl(t, "echo 'Call failed: Unit x.slice not loaded.' >&2; exit 1");
  await stopUnit("x.slice", signal);
  fakeBusctl(t, "exit 5");
  await assert.rejects(stopUnit("x.slice", signal), { message: "stop x.slice: busctl ended with 5" });
});
