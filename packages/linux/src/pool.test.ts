import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { warmThreadPool } from "./pool.ts";
import { run } from "./run.ts";

const script = (timeoutMs: number, before = ""): string[] => [
  "--input-type=module",
  "-e",
  `import { warmThreadPool } from ${JSON.stringify(new URL("./pool.ts", import.meta.url).href)};
   import { pbkdf2 } from "node:crypto";
   import { readdirSync } from "node:fs";
   const count = () => readdirSync("/proc/self/task").length;
   const start = count();
   ${before}
   try { await warmThreadPool({ timeoutMs: ${timeoutMs} }); console.log(count() - start); } catch (error) { console.log(error.message); }
   process.exit();`,
];

test("afterwards all threads of the pool exist, and no more are started", async () => {
  await warmThreadPool();
  const threads = readdirSync("/proc/self/task").length;
  await warmThreadPool();
  assert.equal(readdirSync("/proc/self/task").length, threads);
});

test("UV_THREADPOOL_SIZE is honoured", async () => {
  for (const [size, want] of [
    ["9", 9],
    ["0", 1],
    ["1", 1],
  ] as const) {
    const { stdout } = await run({
      file: process.execPath,
      args: script(5000),
      env: { ...process.env, UV_THREADPOOL_SIZE: size },
    });
    // Importing may have started them already, all at once.
    assert.ok([`${want}\n`, "0\n"].includes(stdout.toString()), stdout.toString());
  }
});

test("a busy pool is an error in time, not a hang", async () => {
  const busy = 'for (let i = 0; i < 4; i++) pbkdf2("x", "y", 500_000, 32, "sha512", () => {});';
  const { stdout } = await run({
    file: process.execPath,
    args: script(50, busy),
    env: { ...process.env, UV_THREADPOOL_SIZE: "2" },
    timeoutMs: 60_000,
  });
  assert.match(stdout.toString(), /^warm the thread pool: [01] of 2 threads answered within 50 ms$/m);
});
