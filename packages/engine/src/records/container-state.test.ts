import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type ContainerEvent, type ContainerState, containerTransition } from "./container-state.ts";

const main = { pid: 10, startTicks: 1 };
const monitor = { pid: 9, startTicks: 1 };
const states: ContainerState[] = [
  { is: "creating" },
  { is: "created", main, monitor },
  { is: "running", main, monitor, startedAtNs: 5n },
  { is: "exited", exitCode: 1, reason: "Error", message: "", startedAtNs: 5n, finishedAtNs: 6n },
  { is: "unknown", message: "?" },
  { is: "unreadable", message: "?", processes: { main, monitor }, hasLayers: true, ended: undefined },
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
  // Whoever reads its record again finds out the rest.
  unreadable: ["-", "-", "unreadable", "-"],
} as const;

for (const state of states) {
  for (const [i, event] of events.entries()) {
    const expected = table[state.is][i];
    test(`${state.is} + ${event.type} = ${expected}`, () => {
      if (expected === "-") {
        assert.throws(
          () => containerTransition(state, event, 1n),
          (e) => e instanceof StatusError && e.code === Code.FailedPrecondition,
        );
      } else {
        assert.equal(containerTransition(state, event, 1n).is, expected);
      }
    });
  }
}

test("an exit keeps when it started; one that never started has 0", () => {
  const exit = events[2]!;
  assert.equal((containerTransition(states[2]!, exit, 1n) as { startedAtNs: bigint }).startedAtNs, 5n);
  assert.equal((containerTransition(states[1]!, exit, 1n) as { startedAtNs: bigint }).startedAtNs, 0n);
});

test("the first report of an exit counts", () => {
  assert.equal(containerTransition(states[3]!, events[2]!, 1n), states[3]);
});

test("of a container whose record cannot be read the first end is remembered beside", () => {
  const ended = containerTransition(states[5]!, events[2]!, 1n);
  assert.deepEqual(ended, { ...states[5]!, ended: { exitCode: 0, finishedAtNs: 9n } });
  assert.deepEqual(containerTransition(ended, { ...events[2]!, exitCode: 3 } as ContainerEvent, 1n), ended);
});

test("a start that is recorded after the exit only adds its time", () => {
  const early = containerTransition(states[1]!, events[2]!, 1n);
  assert.deepEqual(containerTransition(early, events[1]!, 1n), { ...early, startedAtNs: 5n });
});

test("a clock that was set back turns no times around", () => {
  const started = containerTransition(states[1]!, { type: "started", atNs: 3n }, 8n);
  assert.deepEqual(started, { is: "running", main, monitor, startedAtNs: 8n });
  const exit = { type: "exited", exitCode: 0, reason: "Completed", message: "", atNs: 2n } as const;
  assert.equal((containerTransition(started, exit, 8n) as { finishedAtNs: bigint }).finishedAtNs, 8n);
  const never = containerTransition(states[1]!, exit, 8n);
  assert.deepEqual(never, {
    is: "exited",
    exitCode: 0,
    reason: "Completed",
    message: "",
    startedAtNs: 0n,
    finishedAtNs: 8n,
  });
  const late = containerTransition(never, { type: "started", atNs: 9n }, 8n);
  assert.deepEqual(late, { ...never, startedAtNs: 9n, finishedAtNs: 9n });
});
