import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bootId,
  descendants,
  parseCgroup,
  parseStat,
  parseStatus,
  processStartTicks,
  readStat,
  readStatus,
} from "./procfs.ts";
import type { ProcessStat } from "./procfs.ts";

const tail = "S 1 12 13 0 -1 4194560 1 2 3 4 55 66 0 0 20 0 7 0 168059 1 2 3";

test("a process's name may contain anything", () => {
  for (const name of ["bash", "a b", "a) R 9 9 9", "((((", "))))", ") S 1 (", "line\nbreak", ""]) {
    const stat = parseStat(`42 (${name}) ${tail}\n`);
    assert.deepEqual(stat, {
      pid: 42,
      name,
      state: "S",
      parentPid: 1,
      session: 13,
      startTicks: 168059,
    });
  }
});

test("every truncation of stat is a SyntaxError or parsed", () => {
  const text = `42 (x) ${tail}`;
  for (let length = 0; length < text.length; length++) {
    try {
      assert.equal(parseStat(text.slice(0, length)).pid, 42);
    } catch (error) {
      assert.ok(error instanceof SyntaxError);
    }
  }
});

test("status is read with its capabilities, and a name cannot stand in for a field", () => {
  const status = parseStatus(
    "Name:\tx\\nUid:\t0\nUmask:\t0022\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nGroups:\t4 24 \nNSpid:\t3366\t1\nVmRSS:\t     312 kB\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000001\nCapBnd:\tffffffffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n",
  );
  assert.deepEqual(status.uids, [1000, 1001, 1002, 1003]);
  assert.deepEqual(status.groups, [4, 24]);
  assert.deepEqual(status.pids, [3366, 1]);
  assert.equal(status.capabilities.permitted, 0x1ffffffffffn);
  assert.equal(status.capabilities.bounding, 0xffffffffffffffffn);
  assert.equal(status.noNewPrivileges, true);
  assert.deepEqual(parseStatus("").uids, []);
});

test("lines of v1, named and v2 cgroups are parsed", () => {
  assert.deepEqual(parseCgroup("9:name=systemd:/a:b\n4:cpu,cpuacct:/kubepods/pod1\n0::/\ngarbage\n1:x\n"), [
    { hierarchy: 9, controllers: [], name: "systemd", path: "/a:b" },
    { hierarchy: 4, controllers: ["cpu", "cpuacct"], path: "/kubepods/pod1" },
    { hierarchy: 0, controllers: [], path: "/" },
  ]);
});

test("descendants are found once, even in circles", () => {
  const process = (pid: number, parentPid: number): ProcessStat => ({
    pid,
    parentPid,
    name: "",
    state: "S",
    session: 0,
    startTicks: 0,
  });
  const processes = [process(2, 1), process(3, 2), process(4, 3), process(5, 9), process(9, 5), process(1, 4)];
  assert.deepEqual(
    descendants(1, processes).map((p) => p.pid),
    [2, 3, 4],
  );
});

test("it reads this process", () => {
  assert.equal(readStat(process.pid)?.parentPid, process.ppid);
  assert.equal(readStatus(process.pid)?.pids[0], process.pid);
  assert.ok((processStartTicks(process.pid) ?? 0) > 0);
  assert.match(bootId(), /^[0-9a-f-]{36}$/);
  assert.equal(readStat(4194305), null);
});
