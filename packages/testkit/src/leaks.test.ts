import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { compare, leftBehind, takeSnapshot } from "./leaks.ts";
import { waitFor } from "./wait.ts";

test("it finds a process and files that are new, and nothing once they are gone", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-leaks-"));
  t.after(() => rmSync(dir, { recursive: true }));
  // Other tests run at the same time: only what this one makes may count.
  const options = {
    directories: [dir],
    ignoreProcess: ({ parentPid }: { parentPid: number }) => parentPid !== process.pid,
  };
  const ofThisTest = (sentences: string[]) =>
    sentences.filter((sentence) => sentence.startsWith(dir) || sentence.startsWith("process"));
  const before = takeSnapshot(options);
  const child = spawn("sleep", ["100"]);
  t.after(() => child.kill());
  await waitFor(() => readFileSync(`/proc/${child.pid}/cmdline`, "utf8").startsWith("sleep"));
  mkdirSync(join(dir, "a"));
  writeFileSync(join(dir, "a/b"), "");
  assert.deepEqual(
    ofThisTest(compare(before, takeSnapshot(options))).sort(),
    [
      `${dir}/a is still there`,
      `${dir}/a/b is still there`,
      `process ${child.pid} (parent ${process.pid}) is still running: sleep 100`,
    ].sort(),
  );
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill();
  await ended;
  rmSync(join(dir, "a"), { recursive: true });
  assert.deepEqual(ofThisTest(leftBehind(before, { ...options, settleMs: 0 })), []);
});
