import assert from "node:assert/strict";
import { test } from "node:test";
import { signalName, signalNumber } from "./signals.ts";

test("signals are recognised in every form that an image may use", () => {
  const cases: [string, number | undefined][] = [
    ["SIGTERM", 15],
    ["term", 15],
    ["15", 15],
    ["sigkill", 9],
    ["SIGRTMIN", 34],
    ["SIGRTMIN+3", 37],
    ["rtmin+30", 64],
    ["SIGRTMAX", 64],
    ["SIGRTMAX-1", 63],
    ["SIGRTMIN+31", undefined],
    ["SIGRTMAX-31", undefined],
    ["SIGRTMIN-1", undefined],
    ["0", undefined],
    ["65", undefined],
    ["-9", undefined],
    ["", undefined],
    ["SIG", undefined],
    ["9.5", undefined],
    ["constructor", undefined],
  ];
  for (const [name, number] of cases) assert.equal(signalNumber(name), number, name);
});

test("every number has a name that leads back to it", () => {
  for (let number = 1; number <= 64; number++) {
    if (number === 32 || number === 33) continue; // the C library's own
    assert.equal(signalNumber(signalName(number)), number);
  }
  assert.equal(signalName(6), "SIGABRT");
  assert.equal(signalName(37), "SIGRTMIN+3");
});
