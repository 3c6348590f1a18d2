import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { hostFrom } from "@keelson/plan/testing/plan-fixture.ts";
import { resolveClasses } from "./resource-classes.ts";

test("classes come from their files, and the error for a missing one names the annotation", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "classes-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const files = { blockIo: join(dir, "blockio.yaml"), rdt: join(dir, "rdt.yaml") };
  writeFileSync(
    files.blockIo,
    "Classes:\n  slow:\n  - Devices: [/dev/no-such-disk*, /dev/null]\n    ThrottleReadBps: 1M\n  - Weight: 10\n",
  );
  writeFileSync(files.rdt, "classes:\n  gold:\n    memBwSchema: MB:0=50\n");
  const asked = (name: string) => ({ name, annotation: "a/b" });
  const host = hostFrom();
  const withResctrl = hostFrom({ resctrlMounted: true });
  const fails = (call: Promise<unknown>, message: RegExp) =>
    assert.rejects(call, { code: Code.FailedPrecondition, message });

  assert.deepEqual(await resolveClasses({}, files, host), {});
  assert.deepEqual(await resolveClasses({ blockIo: asked("slow") }, files, host), { blockIO: { weight: 10 } });
  assert.deepEqual(await resolveClasses({ rdt: asked("gold") }, files, withResctrl), {
    intelRdt: { closID: "gold", memBwSchema: "MB:0=50" },
  });
  await fails(
    resolveClasses({ blockIo: asked("fast") }, files, host),
    /^annotations\[a\/b\] asks for the class "fast": it is not defined in .*blockio\.yaml/,
  );
  await fails(resolveClasses({ blockIo: asked("toString") }, files, host), /not defined/);
  await fails(resolveClasses({ rdt: asked("gold") }, files, host), /resctrl is not mounted/);
  await fails(
    resolveClasses({ rdt: asked("tin") }, files, withResctrl),
    /rdt\.yaml, and there is no \/sys\/fs\/resctrl\/tin/,
  );
  writeFileSync(files.blockIo, "Classes: [");
  await fails(resolveClasses({ blockIo: asked("slow") }, files, host), /^resource classes .*blockio\.yaml: /);
  writeFileSync(files.blockIo, "x".repeat(1024 * 1024 + 1));
  await fails(resolveClasses({ blockIo: asked("slow") }, files, host), /at most 1048576/);
  rmSync(files.blockIo);
  await fails(resolveClasses({ blockIo: asked("slow") }, files, host), /it is not defined in .*blockio\.yaml$/);
});
