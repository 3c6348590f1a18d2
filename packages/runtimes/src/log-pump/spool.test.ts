import assert from "node:assert/strict";
import {
  appendFileSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { makeFifo } from "@keelson/linux/pipe.ts";
import { linesOf, parseLog } from "@keelson/testkit/cri-log.ts";
import { entriesOf } from "./entries.ts";
import { findLog } from "./log-file.ts";
import { Spool } from "./spool.ts";

const time = "2026-01-02T03:04:05.000000006Z";

/** A FIFO with a spool and a log. `restart` opens the spool again, as the daemon does that follows a killed one. */
function withSpool(t: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-spool-"));
  const [fifo, log, file] = ["fifo", "log", "spool"].map((name) => join(dir, name)) as [string, string, string];
  makeFifo(fifo, 0o600);
  const reader = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(() => {
    closeSync(reader);
    rmSync(dir, { recursive: true });
  });
  writeFileSync(log, "");
  const open = () =>
    new Spool(
      file,
      (ino) => findLog(log, ino)?.size,
      (ino, size) => truncateSync(findLog(log, ino)!.path, Number(size)),
    );
  let spool = open();
  t.after(() => spool[Symbol.dispose]());
  return {
    log,
    file,
    spool: () => spool,
    write: (text: string) => void writeSync(reader, text),
    take: () => spool.take(reader),
    restart() {
      spool[Symbol.dispose]();
      spool = open();
    },
    /** Moves the spool's output to the log, but stops after some of the steps, with a part of the entries written. */
    move(steps: number, share = 1, flush?: "P" | "F"): void {
      const { bytes, used } = entriesOf(spool.pending(), { stream: "stdout", time, flush });
      const { ino, size } = statSync(log, { bigint: true });
      if (steps > 0) spool.begin(used, { ino, size }, bytes.length);
      if (steps > 1) appendFileSync(log, bytes.subarray(0, Math.floor(bytes.length * share)));
      if (steps > 2) spool.finish(used);
    },
    lines: () => linesOf(parseLog(readFileSync(log, "utf8"))),
  };
}

test("output passes through, and an empty spool is an empty file", (t) => {
  const s = withSpool(t);
  assert.equal(s.take()?.length, 0);
  s.write("one\ntwo\nthr");
  assert.equal(s.take()?.toString(), "one\ntwo\nthr");
  s.move(3);
  assert.equal(s.spool().pending().toString(), "thr");
  s.write("ee\n");
  s.take();
  s.move(3);
  assert.deepEqual(s.lines(), ["one", "two", "three"]);
  s.take();
  assert.equal(statSync(s.file).size, 0);
});

for (const [steps, share, when] of [
  [0, 1, "before anything was recorded"],
  [1, 1, "before the log"],
  [2, 0.5, "in the middle of an entry"],
  [2, 1, "after the log"],
  [3, 1, "when everything was done"],
] as const) {
  test(`killed ${when}: no line is lost, doubled or cut`, (t) => {
    const s = withSpool(t);
    s.write("one\ntwo\n");
    s.take();
    s.move(3);
    s.write("three\nfour\nfi");
    s.take();
    s.move(steps, share);
    s.restart();
    s.move(3);
    s.write("ve\n");
    s.take();
    s.restart();
    s.move(3);
    assert.deepEqual(s.lines(), ["one", "two", "three", "four", "five"]);
    s.restart();
    assert.equal(s.spool().pendingBytes, 0);
  });
}

test("killed, and the other stream has written to the log since: its output stays", (t) => {
  const s = withSpool(t);
  s.write("one\n");
  s.take();
  s.move(2);
  appendFileSync(s.log, `${time} stderr F other\n`);
  s.restart();
  assert.equal(s.spool().pendingBytes, 0);
  assert.deepEqual(
    parseLog(readFileSync(s.log, "utf8")).map((e) => e.text),
    ["one", "other"],
  );
});

test("killed, and the log is renamed before the next start: it is found by its inode", (t) => {
  const s = withSpool(t);
  s.write("one\n");
  s.take();
  s.move(2);
  renameSync(s.log, `${s.log}.20260102`);
  s.restart();
  assert.equal(s.spool().pendingBytes, 0);
});

test("a file that is not a spool, or is cut, has no output", (t) => {
  const s = withSpool(t);
  for (const content of ["", "x", "x".repeat(63)]) {
    writeFileSync(s.file, content);
    s.restart();
    assert.equal(s.spool().pendingBytes, 0);
  }
});
