import assert from "node:assert/strict";
import { constants } from "node:os";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { Signal } from "@keelson/cri/gen/runtime/v1/api.ts";
import { parseSignal, planStopSignal } from "./signals.ts";

test("the numbers are those of this kernel", () => {
  for (const [name, number] of Object.entries(constants.signals))
    assert.equal(parseSignal("f", name).number, number, name);
});

test("signals are understood in every spelling", () => {
  for (const text of ["SIGTERM", "TERM", "sigterm", "15"])
    assert.deepEqual(parseSignal("f", text), { name: "SIGTERM", number: 15, cri: Signal.SIGTERM });
  assert.deepEqual(parseSignal("f", "RTMIN+3"), { name: "SIGRTMIN+3", number: 37, cri: Signal.SIGRTMINPLUS3 });
  assert.deepEqual(parseSignal("f", "SIGRTMAX-14"), { name: "SIGRTMAX-14", number: 50, cri: Signal.SIGRTMAXMINUS14 });
  assert.deepEqual(parseSignal("f", "64"), { name: "SIGRTMAX", number: 64, cri: Signal.SIGRTMAX });
});

test("what is not a signal is refused", () => {
  for (const text of ["", "0", "65", "SIG", "SIGFOO", "RTMIN+31", "RTMAX+1", "-9", "toString", "15\n"])
    assert.throws(() => parseSignal("f", text), { code: Code.InvalidArgument });
});

test("every signal of the CRI has a number and is returned in the status", () => {
  for (const [key, value] of Object.entries(Signal)) {
    if (value === Signal.RUNTIME_DEFAULT) continue;
    const planned = planStopSignal(value, "SIGKILL");
    assert.equal(planned.cri, value, key);
    assert.ok(planned.number >= 1 && planned.number <= 64);
  }
});

test("the config's stop signal comes first, then the image's, then SIGTERM", () => {
  assert.equal(planStopSignal(Signal.SIGUSR1, "SIGQUIT").name, "SIGUSR1");
  assert.equal(planStopSignal(Signal.RUNTIME_DEFAULT, "SIGQUIT").name, "SIGQUIT");
  assert.equal(planStopSignal(Signal.RUNTIME_DEFAULT, "").name, "SIGTERM");
  assert.throws(() => planStopSignal(999 as Signal, ""), { code: Code.InvalidArgument });
});
