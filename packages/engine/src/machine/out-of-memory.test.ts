import assert from "node:assert/strict";
import { test } from "node:test";
import { endOf, type OomReport } from "./out-of-memory.ts";

const container = { cgroupPath: "/kubepods/pod1/c1", stopSignal: { number: 15 }, resources: undefined };
const ended = (exitCode: number, oomKilled = false) => ({ exitCode, oomKilled, finishedAtNs: 1n });
const victim = { name: "dd", pid: 42, cgroup: "/kubepods/pod1/c1", limitedCgroup: "/kubepods/pod1/c1" };
const oom = (over: Partial<OomReport> = {}): OomReport => ({
  oomKills: 1,
  limitBytes: 15_728_640,
  hasReachedLimit: true,
  victims: [victim],
  ...over,
});

test("without a kill the exit code decides", () => {
  assert.deepEqual(endOf(ended(0), undefined, container), { reason: "Completed", message: "" });
  assert.deepEqual(endOf(ended(137), undefined, container), { reason: "Error", message: "" });
});

test("the message names the process and the limit", () => {
  assert.deepEqual(endOf(ended(137), oom(), container), {
    reason: "OOMKilled",
    message: 'process "dd" (pid 42) was killed: the container\'s memory limit of 15 MiB was reached',
  });
});

test("a child's kill counts when the container then fails, is mentioned when it succeeds, and is not the reason when it was stopped", () => {
  const wentOn = /^process "dd" .*; the container went on and ended with exit code \d+$/;
  for (const [exitCode, reason] of [
    [1, "OOMKilled"],
    [0, "Completed"],
    [143, "Error"],
    [139, "OOMKilled"],
  ] as const) {
    const end = endOf(ended(exitCode), oom(), container);
    assert.equal(end.reason, reason, String(exitCode));
    assert.match(end.message, wentOn);
  }
  assert.equal(endOf(ended(137), oom(), { ...container, stopSignal: { number: 9 } }).reason, "OOMKilled");
});

test("limits below and above the container, of the machine, and in a cgroup namespace are distinguished", () => {
  const message = (cgroup: string, limitedCgroup?: string) =>
    endOf(
      ended(137),
      oom({ victims: [{ name: "x", pid: 1, cgroup, ...(limitedCgroup === undefined ? {} : { limitedCgroup }) }] }),
      container,
    ).message.replace(/^.*? was killed: /, "");
  assert.match(message("/kubepods/pod1/c1/app", "/kubepods/pod1/c1/app"), /of the cgroup \/app inside the container/);
  assert.match(message("/kubepods/pod1/c1", "/kubepods/pod1"), /of \/kubepods\/pod1, the cgroup above/);
  assert.match(message("/kubepods/pod1/c1"), /the machine ran out of memory/);
  assert.match(
    message("/outer/kubepods/pod1/c1/app", "/outer/kubepods/pod1/c1"),
    /the container's memory limit of 15 MiB/,
  );
  assert.match(message("/outer/kubepods/pod1/c1", "/outer/kubepods"), /of \/kubepods, the cgroup above/);
  assert.match(message("/outer/kubepods/pod1/c1", "/outer"), /of \/outer, the cgroup above/);
});

test("the limit of a cgroup that is gone is the requested one", () => {
  const gone: OomReport = { oomKills: 1, hasReachedLimit: false, victims: [victim] };
  assert.match(
    endOf(ended(137), gone, { ...container, resources: { memoryLimitInBytes: 1_048_576n } }).message,
    /"dd".*the container's memory limit of 1 MiB was reached$/,
  );
  assert.match(
    endOf(ended(137), gone, { ...container, resources: { memoryLimitInBytes: -1n } }).message,
    /the container's memory limit was reached$/,
  );
});

test("several kills are counted", () =>
  assert.match(endOf(ended(137), oom({ oomKills: 3 }), container).message, /last of 3 processes/));

test("without the kernel's log, and without the cgroup, it says what is known", () => {
  assert.match(
    endOf(ended(137), oom({ victims: [] }), container).message,
    /^a process was killed: the container's memory limit of 15 MiB/,
  );
  assert.match(
    endOf(ended(137), oom({ victims: [], hasReachedLimit: false }), container).message,
    /^a process was killed: not by the container's own memory limit but by another, .*inside the container, or/,
  );
  assert.deepEqual(endOf(ended(137, true), undefined, container), {
    reason: "OOMKilled",
    message: "a process was killed: the container ran out of memory",
  });
});
