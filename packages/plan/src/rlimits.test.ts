import assert from "node:assert/strict";
import { test } from "node:test";
import { ownStackLimit, parseRlimit, rlimitOverOwn } from "./rlimits.ts";

test("a limit is a name with one or two numbers", () => {
  assert.deepEqual(parseRlimit("nofile=1024:2048"), { type: "RLIMIT_NOFILE", soft: 1024, hard: 2048 });
  assert.deepEqual(parseRlimit("core=0"), { type: "RLIMIT_CORE", soft: 0, hard: 0 });
  for (const text of [
    "",
    "nofile",
    "nofile=",
    "nofile=-1",
    "nofile=2:1",
    "nofiles=1",
    "nofile=1:2:3",
    "NOFILE=1",
    "nofile=1e3",
    "toString=1",
    "nofile=9999999999999999",
  ])
    assert.equal(parseRlimit(text), undefined, text);
});

test("a limit above our own hard limit is found", () => {
  const own =
    "Limit                     Soft Limit           Hard Limit           Units     \nMax cpu time              unlimited            unlimited            seconds   \nMax open files            20000                20480                files     \nMax nice priority         0                    5                    \n";
  const over = (...texts: string[]) =>
    rlimitOverOwn(
      texts.map((text) => parseRlimit(text)!),
      own,
    );
  assert.deepEqual(over("cpu=99", "nofile=1:20481"), { name: "nofile", ownHard: 20_480 });
  assert.deepEqual(over("nice=6"), { name: "nice", ownHard: 5 });
  assert.equal(over("nofile=20480", "cpu=999999", "rss=5"), undefined);
});

test("our own soft stack limit is read, unless it is unlimited", () => {
  const own = (soft: string) =>
    `Limit                     Soft Limit           Hard Limit           Units     \nMax stack size            ${soft.padEnd(20)} unlimited            bytes     \n`;
  assert.equal(ownStackLimit(own("8388608")), 8388608);
  assert.equal(ownStackLimit(own("unlimited")), undefined);
  assert.equal(ownStackLimit(""), undefined);
});
