import assert from "node:assert/strict";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { makeFifo } from "@keelson/linux/pipe.ts";
import { type LogEntry, logSoFar, parseLog } from "@keelson/testkit/cri-log.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { ContainerPump } from "./container-pump.ts";

/** A container that writes what a test says, and a log directory of its own. */
function withContainer(t: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-pump-"));
  const logPath = join(dir, "logs/0.log");
  const fds = ["stdout", "stderr"].map((name) => {
    makeFifo(join(dir, name), 0o600);
    return openSync(join(dir, name), constants.O_RDWR | constants.O_NONBLOCK);
  }) as [number, number];
  const container = { id: "c1", dir, logPath, tty: false, stdin: false, stdinOnce: false };
  const open = () => new ContainerPump(container, { stdinClosed: () => {}, warn: (text) => assert.fail(text) });
  let pump = open();
  t.after(async () => {
    await pump.close(0);
    fds.forEach(closeSync);
    rmSync(dir, { recursive: true });
  });
  return {
    logPath,
    rotated: `${logPath}.20260102-030405`,
    pump: () => pump,
    async restart(between: () => void = () => {}): Promise<void> {
      await pump.close(0);
      between();
      pump = open();
    },
    async write(text: string, stream: "stdout" | "stderr" = "stdout"): Promise<void> {
      writeSync(fds[stream === "stdout" ? 0 : 1], `${text}\n`);
      await waitFor(() => logSoFar(logPath).some((entry) => entry.text === text));
    },
  };
}

function assertInOrder(entries: readonly LogEntry[], texts: readonly string[]): void {
  assert.deepEqual(
    entries.map(({ text }) => text),
    texts,
  );
  const times = entries.map(({ timeNs }) => timeNs);
  assert.deepEqual(
    times,
    times.toSorted((a, b) => Number(a - b)),
  );
}

const minuteMs = 60_000;
const written = (path: string) => parseLog(readFileSync(path, "utf8"));
/** An entry that was written before the clock was set back by a minute. */
const early = (text: string, atMs = Date.now() + minuteMs) =>
  `${new Date(atMs).toISOString().slice(0, -1)}000000Z stdout F ${text}\n`;

test("the times of both streams go up together, over reopened logs and restarts", async (t) => {
  const c = withContainer(t);
  await c.write("1");
  await c.write("2", "stderr");
  renameSync(c.logPath, c.rotated);
  c.pump().reopenLog();
  await c.write("3");
  await c.restart();
  await c.write("4", "stderr");
  await c.write("5");
  assertInOrder([...written(c.rotated), ...written(c.logPath)], ["1", "2", "3", "4", "5"]);
});

test("a clock that is set back between two starts does not take the times back", async (t) => {
  const c = withContainer(t);
  await c.restart(() => writeFileSync(c.logPath, early("1")));
  await c.write("2");
  await c.write("3", "stderr");
  assertInOrder(written(c.logPath), ["1", "2", "3"]);
});

test("when the log was renamed and has no entries yet, the renamed one has the last time", async (t) => {
  const c = withContainer(t);
  await c.restart(() => {
    rmSync(c.logPath);
    writeFileSync(c.rotated, early("1"));
    // Older logs, which a kubelet has compressed since.
    writeFileSync(`${c.logPath}.20260101-030405`, early("0", 0));
    utimesSync(`${c.logPath}.20260101-030405`, 1, 1);
    writeFileSync(`${c.logPath}.20260101-010101.gz`, "x");
  });
  await c.write("2");
  assertInOrder([...written(c.rotated), ...written(c.logPath)], ["1", "2"]);
});

test("another container's log, and a file that is no log, have no last time", async (t) => {
  const c = withContainer(t);
  await c.restart(() => {
    writeFileSync(c.logPath.replace("0.log", "10.log"), early("1"));
    writeFileSync(c.rotated, `no log at all\n${"x".repeat(100_000)}\n2027-99-99T00:00:00.000000000Z stdout F x\n`);
  });
  await c.write("2");
  assert.ok(written(c.logPath)[0]!.timeNs < BigInt(Date.now() + minuteMs / 2) * 1_000_000n);
});
