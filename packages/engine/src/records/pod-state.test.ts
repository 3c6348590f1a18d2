import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type PodEvent, type PodState, podTransition } from "./pod-state.ts";

const states: PodState[] = [
  { is: "creating" },
  { is: "ready", ips: ["10.0.0.2"] },
  { is: "stopping" },
  { is: "notReady" },
  { is: "unreadable", message: "?", hasPlan: true, isStopped: false },
];
const events: PodEvent[] = [{ type: "ready", ips: ["10.0.0.2"] }, { type: "stopping" }, { type: "stopped" }];

// Every state × every event; "-" is refused.
const table = {
  creating: ["ready", "stopping", "notReady"],
  ready: ["-", "stopping", "notReady"],
  stopping: ["-", "stopping", "notReady"],
  notReady: ["-", "-", "notReady"],
  unreadable: ["-", "unreadable", "unreadable"],
} as const;

for (const state of states) {
  for (const [i, event] of events.entries()) {
    const expected = table[state.is][i];
    test(`${state.is} + ${event.type} = ${expected}`, () => {
      if (expected === "-") {
        assert.throws(
          () => podTransition(state, event),
          (e) => e instanceof StatusError && e.code === Code.FailedPrecondition,
        );
      } else {
        assert.equal(podTransition(state, event).is, expected);
      }
    });
  }
}

test("a pod whose record cannot be read remembers that it was stopped", () => {
  const stopped = podTransition(states[4]!, { type: "stopped" });
  assert.deepEqual(stopped, { ...states[4]!, isStopped: true });
  assert.equal(podTransition(states[4]!, { type: "stopping" }), states[4]);
});
