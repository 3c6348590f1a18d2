import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { compareVersions, parseVersion, upstreamOf } from "./version-order.ts";

test("what programs print is understood, and what is no version is not", () => {
  for (const [text, version] of [
    ["1.2.8", "1.2.8"],
    ["v1.4.0-rc.3", "1.4.0~rc.3"],
    ["1.0.0-rc93", "1.0.0~rc93"],
    ["1.0.0~rc93+ds1", "1.0.0~rc93+ds1"],
    ["1.3.0-rc.1+dev", "1.3.0~rc.1+dev"],
    ["1.1.5+ds1", "1.1.5+ds1"],
    ["1.21.0.0.0.5-3ddf", "1.21.0.0.0.5-3ddf"],
    ["release-20250319.0", "20250319.0"],
    ["0.0~20240729.0", "20240729.0"],
  ] as const)
    assert.equal(parseVersion(text), version);
  for (const text of ["", "unknown", "v", "-1", "1.2 3", "1.2\n", "1.2\u0000", "١.٢", "9".repeat(101), "$(id)", "../1"])
    assert.equal(parseVersion(text), undefined, text);
  for (const [text, version] of [
    ["1.1.5+ds1-1+deb12u1", "1.1.5+ds1"],
    ["2:1.3.3-0ubuntu1~24.04.2", "1.3.3"],
    ["0.0~20240729.0-4~bpo12+1", "20240729.0"],
    ["1.8.1", "1.8.1"],
    ["none", undefined],
  ] as const)
    assert.equal(upstreamOf(text), version);
});

/** Each is older than the next. */
const ascending = [
  "0.9",
  "1.0.0~rc9",
  "1.0.0~rc10",
  "1.0.0",
  "1.0.0+ds1",
  "1.0.1",
  "1.1.5+ds1-1",
  "1.1.5+ds1-1+deb12u1",
  "1.1.5+ds1-1+deb12u2",
  "1.1.5+ds1-2",
  "1.1.12",
  "1.2",
  "1.2.0",
  "1.4.0~rc.3",
  "1.4.0~rc.10",
  "1.4.0",
  "1.30",
  "20240729.0",
  "20250319.0",
  "99999999999999999999999999",
  "1:0.1",
];

test("versions are in the order of Debian's, with numbers of any length", () => {
  for (const [i, a] of ascending.entries())
    for (const [j, b] of ascending.entries())
      assert.equal(Math.sign(compareVersions(a, b)), Math.sign(i - j), `${a} and ${b}`);
});

test("dpkg has the same order", { skip: !existsSync("/usr/bin/dpkg") && "needs dpkg" }, () => {
  for (const [i, a] of ascending.slice(0, -1).entries())
    execFileSync("dpkg", ["--compare-versions", a, "lt", ascending[i + 1]!]);
});

test("any two strings can be compared, and the order is the same from both sides", () => {
  const odd = [
    "",
    "~",
    "~~",
    "-",
    "--",
    "1-",
    "a",
    "1..2",
    ":",
    "1:",
    "9".repeat(100),
    "\u{1F600}",
    "1-1-1",
    "+",
    "1:1:1",
  ];
  for (const a of odd)
    for (const b of odd)
      assert.equal(Math.sign(compareVersions(a, b)), -Math.sign(compareVersions(b, a)) + 0, `${a} ${b}`);
});
