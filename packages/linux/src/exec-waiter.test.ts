import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { execWaiter } from "./exec-waiter.ts";
import { run, type RunResult } from "./run.ts";

/** Waits for the command that a shell script, in place of a runtime, starts and whose pid it writes to PID_FILE. */
async function waitFor(t: TestContext, script: string): Promise<RunResult> {
  const dir = mkdtempSync(join(tmpdir(), "keelson-waiter-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const pidFile = join(dir, "pid");
  const { file, args } = execWaiter(pidFile);
  return await run({ file, args: [...args, "/bin/sh", "-c", script], env: { ...process.env, PID_FILE: pidFile } });
}

test("it ends as the command does, even though the runtime ended before it", async (t) => {
  // A shell, unlike a runtime, would take the exit code of a child that ends before it does.
  const code = async (command: string) => (await waitFor(t, `sh -c 'sleep 0.1; ${command}' & echo $! >$PID_FILE`)).code;
  assert.equal(await code("exit 7"), 7);
  assert.equal(await code("exit 0"), 0);
  assert.equal(await code("kill -9 $$"), 137);
  assert.equal(await code("kill -15 $$"), 143);
});

test("the command has the streams, and nothing else holds them open", async (t) => {
  const startedMs = performance.now();
  const { code, stdout } = await waitFor(
    t,
    "(sleep 0.1; echo words; exec >&- 2>&-; sleep 60) & echo $! >$PID_FILE; (sleep 0.3; kill $(cat $PID_FILE)) >/dev/null 2>&1 &",
  );
  assert.deepEqual([code, stdout.toString()], [143, "words\n"]);
  assert.ok(performance.now() - startedMs < 30_000);
});

test("the exit code shows a runtime that fails, is killed or writes no pid", async (t) => {
  assert.equal((await waitFor(t, "echo why >&2; exit 3")).code, 3);
  assert.equal((await waitFor(t, "echo why >&2; exit 3")).stderr.toString(), "why\n");
  assert.equal((await waitFor(t, "kill -9 $$")).code, 137);
  assert.equal((await waitFor(t, "exit 0")).code, 255);
  assert.equal((await waitFor(t, "echo words >$PID_FILE")).code, 255);
  // Not its own process.
  assert.equal((await waitFor(t, "echo 1 >$PID_FILE")).code, 255);
  const { file, args } = execWaiter("/tmp/none");
  assert.match(
    (await run({ file, args: [...args, "/no/such/runtime"] })).stderr.toString(),
    /^\/no\/such\/runtime: No such file/,
  );
});
