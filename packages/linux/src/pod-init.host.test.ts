import assert from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cgroupDirs, cgroupProcs, createCgroup, detectCgroups, removeCgroup } from "./cgroup.ts";
import { isErrno } from "./errno.ts";
import { mountsUnder } from "./mount.ts";
import { createNamespaces, namespaceId, unpinNamespace } from "./namespace.ts";
import { podInitProgram, startPodInit } from "./pod-init.ts";
import type { PodInit, PodInitOptions } from "./pod-init.ts";
import { signalProcess, watchProcess } from "./process.ts";
import { readProcesses, readStat, readStatus } from "./procfs.ts";
import { run } from "./run.ts";
import { spawn } from "./spawn.ts";
import { ownMounts } from "./testing/host-mounts.ts";

const base = ownMounts(import.meta.url);
if (base !== undefined) {
  async function end(init: PodInit, signal = 15): Promise<void> {
    const keepAlive = setTimeout(() => assert.fail("pod init did not end"), 5000);
    const ended = new Promise<void>((resolve) => watchProcess(init.pid, init.startTicks, resolve));
    signalProcess(init.pid, init.startTicks, signal);
    await ended;
    clearTimeout(keepAlive);
  }

  test("it has no privileges and no files, the pod's name, and an empty root", async () => {
    const init = await startPodInit({ podId: "pod-1", oomScoreAdj: 123 });
    const proc = `/proc/${init.pid}`;
    const status = readStatus(init.pid) ?? assert.fail();
    assert.deepEqual(status.capabilities, { inheritable: 0n, permitted: 0n, effective: 0n, bounding: 0n, ambient: 0n });
    assert.deepEqual([status.uids, status.gids, status.groups], [Array(4).fill(65535), Array(4).fill(65535), []]);
    assert.equal(status.noNewPrivileges, true);
    assert.equal(status.pids.at(-1), 1);
    assert.deepEqual(readdirSync(`${proc}/root`), []);
    const mounts = readFileSync(`${proc}/mountinfo`, "utf8").trim().split("\n");
    assert.equal(mounts.length, 1);
    assert.match(mounts[0] ?? "", / \/ \/ ro,nosuid,nodev,noexec[^-]* - tmpfs keelson-pod-init ro/);
    assert.equal(readlinkSync(`${proc}/cwd`), "/");
    // They are closed a moment after its report was read.
    for (let i = 0; i < 200 && readdirSync(`${proc}/fd`).length > 0; i += 1) await sleep(5);
    assert.deepEqual(readdirSync(`${proc}/fd`), []);
    assert.match(readFileSync(`${proc}/status`, "utf8"), /^Seccomp:\t2$/m);
    assert.equal(readFileSync(`${proc}/cmdline`, "utf8"), "keelson-pod-init\0pod-1\0");
    assert.equal(readFileSync(`${proc}/environ`, "utf8").replaceAll("\0", ""), "");
    assert.equal(readFileSync(`${proc}/oom_score_adj`, "utf8").trim(), "123");
    assert.equal(init.oomScoreAdj, 123);
    const stat = readStat(init.pid) ?? assert.fail();
    assert.equal(stat.startTicks, init.startTicks);
    assert.notEqual(stat.parentPid, process.pid);
    assert.notEqual(stat.session, readStat(process.pid)?.session);
    for (const kind of ["pid", "mnt"])
      assert.notEqual(readlinkSync(`${proc}/ns/${kind}`), readlinkSync(`/proc/self/ns/${kind}`));
    for (const kind of ["net", "ipc", "uts", "user"])
      assert.equal(readlinkSync(`${proc}/ns/${kind}`), readlinkSync(`/proc/self/ns/${kind}`));
    await end(init);
  });

  test("it runs from a copy that stays as it is, whoever has got hold of it, and the next one starts all the same", async () => {
    const program = readFileSync(podInitProgram());
    const first = await startPodInit({ podId: "pod-1" });
    assert.equal(readlinkSync(`/proc/${first.pid}/exe`), "/memfd:pod-init (deleted)");
    const copy = openSync(`/proc/${first.pid}/exe`, "r");
    const own = `/proc/self/fd/${copy}`;
    await end(first);
    const writer = openSync(own, "r+");
    assert.throws(() => writeSync(writer, "#!"), { code: "EPERM" });
    assert.throws(() => ftruncateSync(writer, 0), { code: "EPERM" });
    assert.throws(() => ftruncateSync(writer, program.length + 1), { code: "EPERM" });
    try {
      chmodSync(own, 0);
    } catch (error) {
      assert.ok(isErrno(error, "EPERM"), "Linux 6.3 seals the mode too");
    }
    // A file that is open for writing cannot be executed.
    const second = await startPodInit({ podId: "pod-2" });
    assert.notEqual(statSync(`/proc/${second.pid}/exe`).ino, fstatSync(copy).ino);
    assert.ok(readFileSync(`/proc/${second.pid}/exe`).equals(program));
    assert.ok(readFileSync(copy).equals(program));
    const third = await startPodInit({ podId: "pod-3" });
    assert.equal(statSync(`/proc/${third.pid}/exe`).ino, statSync(`/proc/${second.pid}/exe`).ino, "they share it");
    await Promise.all([end(second), end(third)]);
    closeSync(writer);
    closeSync(copy);
  });

  test("it joins namespaces and cgroups, and pins its own", async () => {
    const layout = detectCgroups();
    const path = `/keelson-pod-init-${process.pid}`;
    createCgroup(layout, path);
    const pins = { net: join(base, "net"), ipc: join(base, "ipc"), uts: join(base, "uts") };
    createNamespaces(pins);
    const pin = join(base, "pid");
    const init = await startPodInit({
      podId: "pod-2",
      netns: pins.net,
      ipcns: pins.ipc,
      utsns: pins.uts,
      cgroups: cgroupDirs(layout, path),
      pin,
    });
    assert.deepEqual(cgroupProcs(layout, path), [init.pid]);
    for (const kind of ["net", "ipc", "uts"] as const)
      assert.equal(namespaceId(`/proc/${init.pid}/ns/${kind}`), namespaceId(pins[kind]));
    assert.equal(namespaceId(pin), namespaceId(`/proc/${init.pid}/ns/pid`));
    await end(init, 2);
    await removeCgroup(layout, path);
    for (const each of [...Object.values(pins), pin]) unpinNamespace(each);
    assert.deepEqual(mountsUnder(base), []);
  });

  test("orphans that end in its namespace leave no zombie, and the others end with it", async () => {
    const init = await startPodInit({ podId: "pod-3" });
    const inPod = (script: string) =>
      spawn({ file: "nsenter", args: [`--target=${init.pid}`, "--pid", "sh", "-c", script] });
    await inPod(
      "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.02 &) ; (setsid sh -c 'sleep 0.05; exit 3' &); done; sleep 0.01",
    ).exited;
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(
      readProcesses().filter((process) => process.parentPid === init.pid),
      [],
    );
    const sleeper = inPod("trap '' TERM; exec sleep 1000");
    await new Promise((resolve) => setTimeout(resolve, 50));
    // Of the signals that a container can send to its pid 1, only SIGTERM and SIGINT end the pod.
    await inPod("for s in HUP QUIT USR1 USR2 PIPE ALRM CHLD KILL STOP SEGV; do kill -$s 1; done").exited;
    assert.equal(readStat(init.pid)?.state, "S");
    await end(init);
    assert.equal((await sleeper.exited).signal, "SIGKILL");
    assert.ok([undefined, "Z"].includes(readStat(init.pid)?.state)); // the host's init may take its time to reap
  });

  test("it lives on when the process that started it dies", async () => {
    const script = `import { startPodInit } from ${JSON.stringify(new URL("./pod-init.ts", import.meta.url).href)};
      console.log(JSON.stringify(await startPodInit({ podId: "pod-4" }))); process.kill(process.pid, "SIGKILL");`;
    const result = await run({ file: process.execPath, args: ["--input-type=module", "-e", script] });
    assert.equal(result.signal, "SIGKILL");
    const init = JSON.parse(result.stdout.toString()) as PodInit;
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(readStat(init.pid)?.startTicks, init.startTicks);
    await end(init);
  });

  const failures: [PodInitOptions, object][] = [
    [
      { podId: "x", netns: "/nonexistent" },
      { stage: "netns", code: "ENOENT", message: "start pod init: netns: no such file or directory (ENOENT)" },
    ],
    [
      { podId: "x", ipcns: "/proc/self/ns/net" },
      { stage: "ipcns", code: "EINVAL" },
    ],
    [
      { podId: "x", cgroups: ["/nonexistent"] },
      { stage: "cgroup", code: "ENOENT" },
    ],
    [
      { podId: "x", pin: "/nonexistent/pin" },
      { stage: "pin", code: "ENOENT" },
    ],
    [
      { podId: "x", oomScoreAdj: 5000 },
      { stage: "oom_score_adj", code: "EINVAL" },
    ],
  ];
  for (const [options, expected] of failures) {
    test(`a failure is reported with its stage and leaves no process: ${JSON.stringify(options)}`, async () => {
      const fds = readdirSync("/proc/self/fd").length;
      const before = new Set(
        readProcesses()
          .filter((process) => process.name === "pod-init")
          .map((process) => process.pid),
      );
      await assert.rejects(startPodInit(options), expected);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(
        readProcesses().filter(
          (process) => process.name === "pod-init" && process.state !== "Z" && !before.has(process.pid),
        ),
        [],
      );
      assert.equal(readdirSync("/proc/self/fd").length, fds);
    });
  }

  test("an oom score below what is permitted has no effect", async () => {
    const own = Number(readFileSync("/proc/self/oom_score_adj", "utf8"));
    const init = await startPodInit({ podId: "pod-5", oomScoreAdj: -998 });
    assert.ok([own, -998].includes(init.oomScoreAdj));
    await end(init);
  });

  test("it owns its PID namespace in a user namespace", async () => {
    const holder = spawn({ file: "unshare", args: ["--user", "sleep", "1000"] });
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const map of ["uid_map", "gid_map"]) writeFileSync(`/proc/${holder.pid}/${map}`, "0 100000 65536");
    const userns = `/proc/${holder.pid}/ns/user`;
    const init = await startPodInit({ podId: "pod-6", userns });
    assert.equal(namespaceId(`/proc/${init.pid}/ns/user`), namespaceId(userns));
    assert.deepEqual(readStatus(init.pid)?.uids, Array(4).fill(165535));
    assert.deepEqual(readdirSync(`/proc/${init.pid}/root`), []);
    await end(init);
    holder.kill("SIGKILL");
    await holder.exited;
  });

  test("in a user namespace with few ids it has the highest", async () => {
    const pin = join(base, "small-user");
    const few = [{ containerId: 0, hostId: 3000, length: 2 }];
    createNamespaces({ user: { pin, uids: few, gids: few } });
    const init = await startPodInit({ podId: "pod-7", userns: pin, nobody: 1 });
    assert.deepEqual(readStatus(init.pid)?.uids, Array(4).fill(3001));
    await end(init);
    unpinNamespace(pin);
  });

  /** Resident memory, with shared pages divided among the processes that share them. */
  function pssKiB(pid: number): number {
    const found = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
    return Number(found?.[1] ?? assert.fail());
  }

  test("twenty of them take less than 100 KiB each", async () => {
    const inits = await Promise.all(Array.from({ length: 20 }, (_, i) => startPodInit({ podId: `many-${i}` })));
    for (const init of inits) assert.ok(pssKiB(init.pid) < 100, `${pssKiB(init.pid)} KiB`);
    await Promise.all(inits.map((init) => end(init)));
  });
}
