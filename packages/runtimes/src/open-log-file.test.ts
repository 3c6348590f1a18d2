import assert from "node:assert/strict";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { makeFifo } from "@keelson/linux/pipe.ts";
import { openLogFile, readyLogFile } from "./open-log-file.ts";

function newDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-log-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

test("a log and its directories are made, and one that is there is appended to", (t) => {
  const path = join(newDir(t), "a/b/0.log");
  for (const text of ["one\n", "two\n"]) {
    const fd = openLogFile(path);
    writeSync(fd, text);
    closeSync(fd);
  }
  assert.equal(readFileSync(path, "utf8"), "one\ntwo\n");
});

test("a link, a FIFO without a reader and a directory are refused at once, and nothing is written through them", (t) => {
  const dir = newDir(t);
  const secret = join(dir, "secret");
  writeFileSync(secret, "as it was");
  symlinkSync(secret, join(dir, "link.log"));
  symlinkSync(join(dir, "not-there"), join(dir, "dangling.log"));
  makeFifo(join(dir, "fifo.log"), 0o600);
  mkdirSync(join(dir, "directory.log"));
  for (const name of ["link.log", "dangling.log", "fifo.log", "directory.log"]) {
    const refused = {
      code: Code.FailedPrecondition,
      message: new RegExp(`${name}: something else than a regular file`),
    };
    assert.throws(() => openLogFile(join(dir, name)), refused);
  }
  assert.throws(() => readyLogFile(join(dir, "directory.log")), { code: Code.FailedPrecondition });
  assert.equal(readFileSync(secret, "utf8"), "as it was");
  assert.ok(!readdirSync(dir).includes("not-there"));
});

test("a file that was made ready goes again unless the monitor took it", (t) => {
  const dir = newDir(t);
  const path = join(dir, "sub/0.log");
  readyLogFile(path)[Symbol.dispose]();
  assert.deepEqual(readdirSync(join(dir, "sub")), []);
  {
    using ready = readyLogFile(path);
    ready.taken();
  }
  assert.deepEqual(readdirSync(join(dir, "sub")), ["0.log.tmp"]);
});
