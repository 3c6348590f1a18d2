import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type ContainerEvent, type ContainerState, containerTransition } from "./state.ts";

const main = { pid: 10, startTicks: 1 };
const monitor = { pid: 9, startTicks: 1 };
const states: ContainerState[] = [
  { is: "creating" },
  { is: "created", main, monitor },
  { is: "running", main, monitor, startedAtNs: 5n },
  { is: "exited", exitCode: 1, reason: "Error", message: "", startedAtNs: 5n, finishedAtNs: 6n },
  { is: "unknown", message: "?" },
];
const events: ContainerEvent[] = [
  { type: "created", main, monitor },
  { type: "started", atNs: 5n },
  { type: "exited", exitCode: 0, reason: "Completed", message: "", atNs: 9n },
  { type: "lost", message: "gone" },
];

// Every state × every event; "-" is refused.
const table = {
  creating: ["created", "-", "exited", "unknown"],
  created: ["-", "running", "exited", "unknown"],
  running: ["-", "-", "exited", "unknown"],
  exited: ["-", "-", "exited", "-"],
  unknown: ["-", "-", "exited", "unknown"],
} as const;

for (const state of states) {
  for (const [i, event] of events.entries()) {
    const expected = table[state.is][i];
    test(`${state.is} + ${event.type} = ${expected}`, () => {
      if (expected === "-") {
        assert.throws(
          () => containerTransition(state, event),
          (e) => e instanceof StatusError && e.code === Code.FailedPrecondition,
        );
      } else {
        assert.equal(containerTransition(state, event).is, expected);
      }
    });
  }
}

test("an exit keeps when it started; one that never started has 0", () => {
  const exit = events[2]!;
  assert.equal((containerTransition(states[2]!, exit) as { startedAtNs: bigint }).startedAtNs, 5n);
  assert.equal((containerTransition(states[1]!, exit) as { startedAtNs: bigint }).startedAtNs, 0n);
});

test("the first report of an exit counts", () => {
  assert.equal(containerTransition(states[3]!, events[2]!), states[3]);
});

test("a start that is noted after the exit only adds its time", () => {
  const early = containerTransition(states[1]!, events[2]!);
  assert.deepEqual(containerTransition(early, events[1]!), { ...early, startedAtNs: 5n });
});
