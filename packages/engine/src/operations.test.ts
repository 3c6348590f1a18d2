import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type OperationRecord, Operations } from "./operations.ts";

function newOperations() {
  const clock = { ms: 0 };
  const ended: [OperationRecord, string | undefined][] = [];
  const operations = new Operations({
    nowMs: () => clock.ms,
    nowNs: () => BigInt(clock.ms) * 1_000_000n,
    onEnd: (record, context) => ended.push([record, context]),
  });
  return { clock, ended, operations };
}

const subject = { call: "RunPodSandbox", name: "web", podUid: "u1" };

test("stages and their details have their times, one after the other", () => {
  const { clock, ended, operations } = newOperations();
  clock.ms = 1000;
  const operation = operations.begin(subject, "00-trace");
  clock.ms += 2;
  operation.stage("create namespaces");
  clock.ms += 3;
  operation.stage("attach the network");
  operation.detail("plugin bridge: ADD");
  clock.ms += 40;
  operation.detail("plugin portmap: ADD");
  clock.ms += 5;
  operation.end();
  const record: OperationRecord = {
    ...subject,
    startedAtNs: 1_000_000_000n,
    durationMs: 50,
    code: "Ok",
    error: undefined,
    stages: [
      { name: "create namespaces", startMs: 2, endMs: 5, details: [] },
      {
        name: "attach the network",
        startMs: 5,
        endMs: 50,
        details: [
          { name: "plugin bridge: ADD", startMs: 5, endMs: 45 },
          { name: "plugin portmap: ADD", startMs: 45, endMs: 50 },
        ],
      },
    ],
  };
  assert.deepEqual(ended, [[record, "00-trace"]]);
  assert.deepEqual(operations.ofPod("u1"), [record]);
  assert.deepEqual(operations.running(), []);
});

test("one under way is shown as far as it got, one that failed with the reason", () => {
  const { clock, operations } = newOperations();
  const running = operations.begin(subject);
  running.stage("attach the network");
  clock.ms = 7;
  assert.deepEqual(
    operations.running().map((o) => [o.code, o.durationMs, o.stages[0]?.endMs]),
    [[undefined, 7, 7]],
  );
  running.end(new StatusError(Code.Unavailable, "the agent is starting"));
  running.end();
  const [failed, ...others] = operations.ofPod("u1");
  assert.deepEqual([failed?.code, failed?.error, others.length], ["Unavailable", "the agent is starting", 0]);
});

test("only the last ones are remembered, and no operation grows without limit", () => {
  const { operations } = newOperations();
  for (let i = 0; i < 3000; i += 1) operations.begin({ ...subject, podUid: `u${i}` }).end();
  assert.equal(operations.ofPod("u951").length, 0);
  assert.equal(operations.ofPod("u952").length, 1);
  const operation = operations.begin(subject);
  operation.stage("stop");
  for (let i = 0; i < 1000; i += 1) operation.detail(`${i}`);
  operation.end();
  assert.equal(operations.ofPod("u1").at(-1)?.stages[0]?.details.length, 64);
});

test("a pod's operations are ordered by their start, even if they end in another order", () => {
  const { clock, operations } = newOperations();
  const first = operations.begin({ ...subject, name: "first" });
  clock.ms = 1;
  operations.begin({ ...subject, name: "second" }).end();
  clock.ms = 2;
  operations.begin({ ...subject, name: "third" });
  first.end();
  assert.deepEqual(
    operations.ofPod("u1").map((o) => o.name),
    ["first", "second", "third"],
  );
});
