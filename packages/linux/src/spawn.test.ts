import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync, readSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { createPipe } from "./pipe.ts";
import { run } from "./run.ts";
import { spawn } from "./spawn.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;
const shell = (script: string) => run({ file: "/bin/sh", args: ["-c", script] });

test("fds stand in the child where the map puts them, and no others are open", async () => {
  const pipes = Array.from({ length: 4 }, () => createPipe());
  const leak = openSync("/dev/null", "r");
  // Crosswise: each has the number that another one needs.
  const [a, b, c, d] = pipes.map((pipe) => pipe.writeFd);
  assert.ok(a !== undefined && b !== undefined && c !== undefined && d !== undefined);
  const fds: (number | "null")[] = Array.from({ length: Math.max(a, b, c, d) + 1 }, () => "null");
  fds[a] = b;
  fds[b] = a;
  fds[c] = c;
  fds[1] = d;
  const child = spawn({
    file: "/bin/bash",
    args: ["-c", `echo a >&${a}; echo b >&${b}; echo c >&${c}; ls /proc/self/fd | wc -l`],
    fds,
  });
  assert.deepEqual(
    { ...(await child.exited), cpuUserUs: 0, cpuSystemUs: 0 },
    { code: 0, signal: null, cpuUserUs: 0, cpuSystemUs: 0 },
  );
  const texts = pipes.map(({ readFd, writeFd }) => {
    closeSync(writeFd);
    const buffer = Buffer.alloc(100);
    const text = buffer.toString("utf8", 0, readSync(readFd, buffer));
    closeSync(readFd);
    return text.trim();
  });
  closeSync(leak);
  assert.deepEqual(texts, ["b", "a", "c", String(fds.length + 1)]); // + the directory that ls reads
});

test("without a map the child has /dev/null three times and nothing else", async () => {
  const child = spawn({ file: "sleep", args: ["100"] });
  const dir = `/proc/${child.pid}/fd`;
  await new Promise((resolve) => setTimeout(resolve, 100)); // the loader has libraries open at first
  assert.deepEqual(
    readdirSync(dir).map((fd) => readlinkSync(join(dir, fd))),
    ["/dev/null", "/dev/null", "/dev/null"],
  );
  child.kill();
  await child.exited;
});

test("exit codes and signals are distinguished", async () => {
  for (const code of [0, 1, 127, 255]) assert.equal((await shell(`exit ${code}`)).code, code);
  const child = spawn({ file: "sleep", args: ["100"] });
  assert.equal(child.kill("SIGRTMIN+3"), true);
  const status = await child.exited;
  assert.equal(status.code, null);
  assert.equal(status.signal, "SIGRTMIN+3");
  assert.equal(child.kill(), false);
  const other = spawn({ file: "true" });
  assert.throws(() => other.kill("SIGNONSENSE"), TypeError);
  await other.exited;
});

test("CPU time is counted", async () => {
  const child = spawn({ file: "sh", args: ["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"] });
  const { cpuUserUs } = await child.exited;
  assert.ok(cpuUserUs > 10_000, String(cpuUserUs));
});

test("what cannot be executed throws and leaves no process", () => {
  const before = openFds();
  assert.throws(() => spawn({ file: "/nonexistent" }), {
    code: "ENOENT",
    errno: 2,
    syscall: "execve",
    path: "/nonexistent",
    message: "spawn /nonexistent: No such file or directory (ENOENT)",
  });
  assert.throws(() => spawn({ file: "nonexistent-program", env: { PATH: "/usr/bin:/bin" } }), { code: "ENOENT" });
  assert.throws(() => spawn({ file: "true", env: { PATH: "" } }), { code: "ENOENT" });
  assert.throws(() => spawn({ file: "true", env: { PATH: ":/nonexistent:" }, cwd: "/bin" }), { code: "ENOENT" });
  assert.throws(() => spawn({ file: "/etc/passwd" }), { code: "EACCES" });
  assert.throws(() => spawn({ file: "/bin/true", cwd: "/nonexistent" }), {
    code: "ENOENT",
    syscall: "chdir",
    path: "/nonexistent",
  });
  assert.throws(() => spawn({ file: "/bin/true", cgroups: ["/nonexistent"] }), {
    syscall: "join cgroup",
    path: "/nonexistent/cgroup.procs",
  });
  assert.throws(() => spawn({ file: "/bin/true", fds: [0, 1, 2, 9999] }), { code: "EBADF" });
  assert.throws(() => spawn({ file: "/bin/true\0x" }), TypeError);
  assert.ok(openFds() <= before, "fds stay open"); // those of earlier files may close meanwhile
  assert.equal(readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim(), "");
});

test("environment, arguments and directory arrive", async () => {
  const result = await run({
    file: "sh",
    args: ["-c", 'echo "$A|$1|$2|$(pwd)"; tr "\\0" "\\n" </proc/$$/environ', "sh", "", "x y"],
    env: ["A=1", "B=2", "A=3", "PATH=/usr/bin:/bin"],
    cwd: tmpdir(),
  });
  assert.match(result.stdout.toString(), new RegExp(`^(1|3)\\|\\|x y\\|${tmpdir()}\nA=1\nB=2\nA=3\nPATH`));
});

test("signal mask and dispositions are the default ones", async () => {
  const { stdout } = await run({ file: "sed", args: ["-nE", "/Sig(Blk|Ign|Cgt)/p", "/proc/self/status"] });
  assert.equal(
    stdout.toString().replace(/\s+/g, " "),
    "SigBlk: 0000000000000000 SigIgn: 0000000000000000 SigCgt: 0000000000000000 ",
  );
});

test("a new session is one", async () => {
  const { stdout } = await shell("cut -d' ' -f1,5,6 /proc/$$/stat");
  const [pid, group, session] = stdout.toString().trim().split(" ");
  assert.equal(pid, group);
  assert.equal(pid, session);
});

test("200 at once all end with their own code, and leave no fd", async () => {
  await shell("true");
  const before = openFds();
  const results = await Promise.all(
    Array.from({ length: 200 }, (_, i) => shell(`echo ${i}; echo e${i} >&2; exit ${i}`)),
  );
  results.forEach((result, i) => {
    assert.equal(result.code, i);
    assert.equal(result.stdout.toString(), `${i}\n`);
    assert.equal(result.stderr.toString(), `e${i}\n`);
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(openFds() <= before, "fds stay open"); // those of earlier files may close meanwhile
});

test("Node's own children and ours do not take each other's exits", async () => {
  const { execFile } = await import("node:child_process");
  const codes = await Promise.all(
    Array.from({ length: 50 }, (_, i) => [
      new Promise((resolve) =>
        execFile("sh", ["-c", `exit ${i}`], (error) => resolve(error === null ? 0 : error.code)),
      ),
      shell(`exit ${i}`).then((result) => result.code),
    ]).flat(),
  );
  assert.deepEqual(
    codes,
    Array.from({ length: 100 }, (_, i) => Math.floor(i / 2)),
  );
});

test("stdin is written, also when the child doesn't read it", async () => {
  const stdin = Buffer.alloc(300_000, "x");
  const result = await run({ file: "wc", args: ["-c"], stdin });
  assert.equal(result.stdout.toString().trim(), "300000");
  assert.equal((await run({ file: "true", stdin })).code, 0);
});

test("output beyond the limit is read and discarded", async () => {
  const result = await run({
    file: "sh",
    args: ["-c", "head -c 1000000 /dev/zero; head -c 50 /dev/zero >&2"],
    stdoutLimitBytes: 1000,
    stderrLimitBytes: 50,
  });
  assert.equal(result.stdout.length, 1000);
  assert.equal(result.stderr.length, 50);
  assert.equal(result.truncated, true);
  assert.equal((await run({ file: "echo", args: ["x"], stdoutLimitBytes: 2 })).truncated, false);
});

test("stdout can be opened again by the child", async () => {
  const result = await shell("echo x > /dev/stdout; echo y > /proc/self/fd/2");
  assert.equal(Buffer.concat([result.stdout, result.stderr]).toString(), "x\ny\n");
});

test("a timeout and an abort kill the whole group, at once", async () => {
  const before = openFds();
  const started = performance.now();
  await assert.rejects(run({ file: "sh", args: ["-c", "sleep 100 & sleep 100"], timeoutMs: 50 }), {
    name: "TimeoutError",
  });
  const controller = new AbortController();
  const aborted = run({ file: "sleep", args: ["100"] }, controller.signal);
  controller.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
  await assert.rejects(run({ file: "sleep", args: ["100"] }, AbortSignal.abort(new Error("never"))), /never/);
  assert.ok(performance.now() - started < 2000);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(openFds() <= before, "fds stay open"); // those of earlier files may close meanwhile
});

test("a process left behind with stdout open delays the result for drainMs only", async () => {
  const started = performance.now();
  const result = await run({ file: "sh", args: ["-c", "setsid sleep 60 & echo $!; exit 0"], drainMs: 100 });
  const pid = Number(result.stdout.toString());
  process.kill(pid);
  assert.ok(performance.now() - started < 30_000);
});

test("it works in a worker, which may end while a child runs", async () => {
  const worker = new Worker(
    `const { workerData, parentPort } = require("node:worker_threads");
     import(workerData).then(async ({ spawn }) => {
       const { code } = await spawn({ file: "sh", args: ["-c", "exit 7"] }).exited;
       const left = spawn({ file: "sleep", args: ["0.3"] });
       parentPort.postMessage({ code, pid: left.pid });
     });`,
    { eval: true, workerData: new URL("./spawn.ts", import.meta.url).href },
  );
  const message = await new Promise<{ code: number }>((resolve) => worker.once("message", resolve));
  assert.equal(message.code, 7);
  await worker.terminate();
});

test("a real pipe carries bytes", () => {
  const { readFd, writeFd } = createPipe();
  writeSync(writeFd, "x");
  const buffer = Buffer.alloc(4);
  assert.equal(readSync(readFd, buffer), 1);
  closeSync(readFd);
  closeSync(writeFd);
});

test("a child has the oom_score_adj that it is given, and we keep ours", async () => {
  const own = readFileSync("/proc/self/oom_score_adj", "utf8").trim();
  const score = String(Math.min(1000, Number(own) + 100));
  const { stdout } = await run({
    file: "/bin/sh",
    args: ["-c", "cat /proc/self/oom_score_adj"],
    oomScoreAdj: Number(score),
  });
  assert.equal(stdout.toString().trim(), score);
  assert.equal(readFileSync("/proc/self/oom_score_adj", "utf8").trim(), own);
  assert.throws(() => spawn({ file: "/bin/true", oomScoreAdj: 1001 }), { code: "EINVAL" });
});
