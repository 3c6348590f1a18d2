import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import type { CgroupLayout } from "./cgroup.ts";
import { memoryPressure, memoryWorkingSet } from "./memory-cgroup.ts";

function layoutOf(t: TestContext, kind: CgroupLayout["kind"], files: Record<string, string>): CgroupLayout {
  const root = mkdtempSync(join(tmpdir(), "memory-cgroup-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return { kind, root, hierarchies: [{ version: kind === "v2" ? 2 : 1, dir: root, controllers: ["memory"] }] };
}

// Shortened from files of Linux 6.1 (v2) and 6.18 (v1).
const eventsV2 = (oom: number, oomKill: number) =>
  `low 0\nhigh 0\nmax 12\noom ${oom}\noom_kill ${oomKill}\noom_group_kill 0\n`;

test("v2: kills below count, and its own limit is distinguished from one above", (t) => {
  const own = layoutOf(t, "v2", {
    "a/memory.events": eventsV2(3, 2),
    "a/memory.events.local": eventsV2(3, 0),
    "a/memory.max": "15728640\n",
  });
  assert.deepEqual(memoryPressure(own, "/a"), { oomKills: 2, limitBytes: 15_728_640, hasReachedLimit: true });
  const above = layoutOf(t, "v2", {
    "a/memory.events": eventsV2(0, 1),
    "a/memory.events.local": eventsV2(0, 1),
    "a/memory.max": "max\n",
  });
  assert.deepEqual(memoryPressure(above, "/a"), { oomKills: 1, hasReachedLimit: false });
});

test("v1: kills of cgroups below are added up", (t) => {
  const control = (kills: number) => `oom_kill_disable 0\nunder_oom 0\noom_kill ${kills}\n`;
  const layout = layoutOf(t, "hybrid", {
    "a/memory.limit_in_bytes": "15728640\n",
    "a/memory.max_usage_in_bytes": "15716352\n",
    "a/memory.oom_control": control(0),
    "a/b/memory.oom_control": control(1),
    "a/b/c/memory.oom_control": control(2),
  });
  assert.deepEqual(memoryPressure(layout, "/a"), { oomKills: 3, limitBytes: 15_728_640, hasReachedLimit: true });
  const unlimited = layoutOf(t, "v1", {
    "a/memory.limit_in_bytes": "9223372036854771712\n",
    "a/memory.max_usage_in_bytes": "99\n",
    "a/memory.oom_control": control(1),
  });
  assert.deepEqual(memoryPressure(unlimited, "/a"), { oomKills: 1, hasReachedLimit: false });
});

test("the working set excludes inactive file pages", (t) => {
  const v2 = layoutOf(t, "v2", {
    "a/memory.current": "1000\n",
    "a/memory.stat": "anon 400\nfile 600\ninactive_file 250\nactive_file 350\n",
  });
  assert.equal(memoryWorkingSet(v2, "/a"), 750);
  const v1 = layoutOf(t, "v1", {
    "a/memory.usage_in_bytes": "1000\n",
    "a/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
  });
  assert.equal(memoryWorkingSet(v1, "/a"), 0);
});

test("a cgroup that is gone has no values", (t) => {
  for (const kind of ["v1", "v2"] as const) {
    const layout = layoutOf(t, kind, {});
    assert.equal(memoryPressure(layout, "/gone"), undefined);
    assert.equal(memoryWorkingSet(layout, "/gone"), undefined);
  }
});
