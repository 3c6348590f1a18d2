import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseOomKill, readOomKills } from "./kernel-log.ts";

// Linux 6.18.
const limited =
  "6,119456,12489017428,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/pod/a,task_memcg=/pod/a/child,task=dd,pid=30234,uid=0\n";

test("a record names the victim and the cgroup whose limit was reached", () => {
  assert.deepEqual(parseOomKill(limited), { name: "dd", pid: 30234, cgroup: "/pod/a/child", limitedCgroup: "/pod/a" });
});

test("a machine out of memory has no limited cgroup", () => {
  const global = limited.replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE").replace("oom_memcg=/pod/a", "global_oom");
  assert.deepEqual(parseOomKill(global), { name: "dd", pid: 30234, cgroup: "/pod/a/child" });
});

test("a name with commas and equals signs stays a name", () => {
  assert.equal(parseOomKill(limited.replace("task=dd", "task=a,pid=7,b"))?.name, "a,pid=7,b");
});

test("what a program wrote into the log is not the kernel's", () => {
  assert.equal(parseOomKill(`14${limited.slice(1)}`), undefined);
});

test("other records, and truncated or empty ones, are ignored", () => {
  for (const record of [
    "",
    ";",
    "6,1,1,-;dd invoked oom-killer: order=0\n",
    "6,1,1,-;oom-kill:constraint=",
    limited.slice(0, 120),
  ])
    assert.equal(parseOomKill(record), undefined, record);
});

test("a missing log has no kills", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "kernel-log-"));
  t.after(() => rmSync(dir, { recursive: true }));
  assert.deepEqual(readOomKills(join(dir, "kmsg")), []);
});
