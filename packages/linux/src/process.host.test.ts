import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { closeFd } from "./pipe.ts";
import { openPidfd, signalPidfd, signalProcess, watchProcess } from "./process.ts";
import { processStartTicks } from "./procfs.ts";
import { run } from "./run.ts";
import { spawn } from "./spawn.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;

/** A process that is not our child: its parent has ended. */
async function orphan(seconds: string): Promise<{ pid: number; startTicks: number }> {
  const { stdout } = await run({ file: "sh", args: ["-c", `setsid sleep ${seconds} >/dev/null 2>&1 & echo $!`] });
  const pid = Number(stdout.toString());
  return { pid, startTicks: processStartTicks(pid) ?? assert.fail() };
}

test("a signal goes to the recorded process only", async () => {
  const child = spawn({ file: "sleep", args: ["100"] });
  const startTicks = processStartTicks(child.pid) ?? assert.fail();
  assert.equal(signalProcess(child.pid, startTicks + 1, 9), false);
  assert.equal(signalProcess(child.pid, startTicks, 0), true);
  assert.equal(signalProcess(child.pid, startTicks, 15), true);
  assert.equal((await child.exited).signal, "SIGTERM");
  assert.equal(signalProcess(child.pid, startTicks, 9), false);
  assert.throws(() => signalProcess(process.pid, processStartTicks(process.pid) ?? 0, 99), { code: "EINVAL" });
});

test("a pidfd stays with its process", async () => {
  const child = spawn({ file: "sleep", args: ["100"] });
  const fd = openPidfd(child.pid);
  child.kill("SIGKILL");
  await child.exited;
  assert.equal(signalPidfd(fd, 0), false);
  closeFd(fd);
  assert.throws(() => openPidfd(child.pid), { code: "ESRCH" });
});

test("the end of a process that is not our child is noticed", async () => {
  const before = openFds();
  const { pid, startTicks } = await orphan("100");
  const ended = new Promise<void>((resolve) => watchProcess(pid, startTicks, resolve));
  const keepAlive = setTimeout(() => assert.fail("not seen"), 5000);
  signalProcess(pid, startTicks, 9);
  await ended;
  clearTimeout(keepAlive);
  assert.equal(openFds(), before);
});

test("one that is gone, or whose pid was reused, is reported later, never within the call", async () => {
  let isInside = true;
  await new Promise<void>((resolve) => {
    watchProcess(process.pid, 1, () => {
      assert.equal(isInside, false);
      resolve();
    });
    isInside = false;
  });
});

test("a watch that was disposed of stays silent and keeps no fd", async () => {
  const before = openFds();
  const { pid, startTicks } = await orphan("100");
  for (let i = 0; i < 50; i++) {
    using _watch = watchProcess(pid, startTicks, () => assert.fail("called"));
  }
  watchProcess(1, 0, () => assert.fail("called"))[Symbol.dispose]();
  signalProcess(pid, startTicks, 9);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(openFds(), before);
});

test("an exception in the callback becomes an uncaught one", async () => {
  const script = `
    import { watchProcess } from ${JSON.stringify(new URL("./process.ts", import.meta.url).href)};
    watchProcess(1, 0, () => { throw new Error("from the callback"); });
    process.on("uncaughtException", (error) => { console.log(error.message); process.exit(3); });
    setTimeout(() => {}, 2000);`;
  const { code, stdout } = await run({ file: process.execPath, args: ["--input-type=module", "-e", script] });
  assert.deepEqual([code, stdout.toString()], [3, "from the callback\n"]);
  const native = script.replace(
    "watchProcess(1, 0,",
    'const child = spawn({ file: "sleep", args: ["0.05"] }); watchProcess(child.pid, processStartTicks(child.pid),',
  );
  const imports = ["spawn", "procfs"]
    .map(
      (name) =>
        `import { ${name === "spawn" ? name : "processStartTicks"} } from ${JSON.stringify(new URL(`./${name}.ts`, import.meta.url).href)};`,
    )
    .join("\n");
  const second = await run({ file: process.execPath, args: ["--input-type=module", "-e", imports + native] });
  assert.deepEqual([second.code, second.stdout.toString()], [3, "from the callback\n"]);
});
