import assert from "node:assert/strict";
import { writeSync } from "node:fs";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { MonitorPipe, parseReport, runtimeMessage } from "./monitor-pipe.ts";

const never = new AbortController().signal;

test("the pid comes through the pipe", async () => {
  using pipe = new MonitorPipe();
  writeSync(pipe.writeFd, '{"data": 4242}\n');
  pipe.handedOver();
  assert.equal(await pipe.pid(never), 4242);
});

test("a monitor that ends without a report, and a caller that gives up, are errors of their own", async () => {
  using silent = new MonitorPipe();
  silent.handedOver();
  await assert.rejects(silent.pid(never), /ended without a report/);
  using hanging = new MonitorPipe();
  const abort = new AbortController();
  const waiting = hanging.pid(abort.signal);
  abort.abort(new Error("gave up"));
  await assert.rejects(waiting, /gave up/);
});

test("the error has the runtime's own message", () => {
  assert.throws(() => parseReport('{"data": -1, "message": "executable file `x` not found in $PATH\\n"}'), {
    code: Code.Internal,
    message: "executable file `x` not found in $PATH",
  });
});

test("whatever a monitor writes, the answer is a pid or a StatusError", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.object().map((o) => JSON.stringify({ data: 1, ...o })),
      ),
      (text) => {
        try {
          assert.ok(parseReport(text) > 1);
        } catch (error) {
          assert.ok(error instanceof StatusError, String(error));
          assert.ok(error.message.length < 1200);
        }
      },
    ),
  );
});

test("a message is one line, without timestamps, control characters or megabytes", () => {
  const runc =
    'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start: exec: \\"x\\": not found"\n';
  assert.equal(runtimeMessage(runc), 'runc create failed: unable to start: exec: "x": not found');
  assert.equal(runtimeMessage("a\u001b[31mred\n\nb\n"), "a [31mred; b");
  assert.equal(runtimeMessage(""), "no message");
  assert.ok(runtimeMessage("x".repeat(1e6)).length < 1100);
});
