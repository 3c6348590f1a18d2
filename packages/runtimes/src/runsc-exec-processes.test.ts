import assert from "node:assert/strict";
import { test } from "node:test";
import { membersOf, parseProcesses } from "./runsc-exec-processes.ts";

const table = `UID       PID       PPID      C         TTY       STIME     TIME      CMD
0         9         0         4         ?         09:40     40ms      sh
1000      19        0         4         pts/0     09:40     0s        0 77 0 a name that a process chose
0         20        19        4         ?         09:40     0s        sleep
0         21        20        2         ?         09:40     0s        sleep
`;

test("runsc's table of processes is read by its columns, whatever commands are called", () => {
  assert.deepEqual(parseProcesses(table), [
    { pid: 9, parentPid: 0 },
    { pid: 19, parentPid: 0 },
    { pid: 20, parentPid: 19 },
    { pid: 21, parentPid: 20 },
  ]);
  assert.deepEqual(parseProcesses("loading container: file does not exist\n"), []);
});

test("a command is what was started from outside, with all that descends from it", () => {
  const processes = parseProcesses(table);
  assert.deepEqual(membersOf(19, processes), [19, 20, 21]);
  assert.deepEqual(membersOf(20, processes), [], "a child has got the number of a command that has ended");
  assert.deepEqual(membersOf(5, processes), []);
});
