import assert from "node:assert/strict";
import { test } from "node:test";
import { usageInEvent } from "./runsc-usage.ts";

/** As runsc 20240729 prints it. */
const answer =
  '{"type":"stats","id":"c2","data":{"cpu":{"usage":{"total":23353041387}},"memory":{"usage":{"limit":0,"usage":7041024,"failcnt":0},"swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0}},"pids":{"current":7},"network_interfaces":[{"Name":"eth0","RxBytes":900}]}}\n';

test("gVisor's numbers for a container are read; kinds of memory that it does not know are left out", () => {
  assert.deepEqual(usageInEvent(answer), {
    cpu: { usageNs: 23_353_041_387n },
    memory: { usageBytes: 7_041_024n, workingSetBytes: 7_041_024n },
    pids: { current: 7n },
    hugepages: [],
  });
});

test("numbers that gVisor leaves out are 0", () => {
  const idle =
    '{"type":"stats","id":"c1","data":{"cpu":{"usage":{}},"memory":{"usage":{"limit":0,"failcnt":0}},"pids":{}}}';
  assert.deepEqual(usageInEvent(idle), {
    cpu: { usageNs: 0n },
    memory: { usageBytes: 0n, workingSetBytes: 0n },
    pids: { current: 0n },
    hugepages: [],
  });
});

test("an answer that is cut off or something else has no usage", () => {
  for (let end = 0; end < answer.trimEnd().length; end += 1)
    assert.equal(usageInEvent(answer.slice(0, end)), undefined);
  for (const other of [
    "null",
    "[]",
    '{"type":"oom"}',
    answer.replace("7041024", "-1"),
    answer.replace("7041024", "1e300"),
    answer.replace("23353041387", '"23"'),
  ]) {
    assert.equal(usageInEvent(other), undefined, other);
  }
});
