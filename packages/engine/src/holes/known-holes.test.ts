// The table's form, and what it says of versions that matter.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type InstalledVersion, isVulnerable } from "./is-vulnerable.ts";
import { knownHoles, programs } from "./known-holes.ts";
import { compareVersions, parseVersion } from "./version-order.ts";

test("every entry has advisories, versions in order, and a sentence", () => {
  for (const hole of knownHoles) {
    const name = `${hole.program} ${hole.advisories.join(" ")}`;
    assert.ok(programs.includes(hole.program), name);
    assert.ok(hole.advisories.length > 0, name);
    for (const advisory of hole.advisories)
      assert.match(advisory, /^(CVE-(199|20[0-9])\d-\d{4,7}|GHSA(-[23456789cfghjmpqrvwx]{4}){3})$/, name);
    assert.ok(hole.fixedIn.length > 0, `${name} has no release without it`);
    const versions = [hole.since, ...hole.fixedIn]
      .filter((text) => text !== undefined)
      .map((text) => parseVersion(text));
    assert.ok(!versions.includes(undefined), `${name} has a version that is none`);
    for (let i = 1; i < versions.length; i += 1)
      assert.ok(compareVersions(versions[i - 1]!, versions[i]!) < 0, `${name}: ${versions.join(" ")}`);
    for (const fixed of hole.packagesFixedIn ?? [])
      assert.match(fixed, /^(\d+:)?\d[\w.+~]*-[\w.+~]+$/, `${name}: a package has a revision`);
    assert.match(hole.means, /^[a-z][^\n]{20,250}[^.\s]$/, name);
  }
});

test("every program has an entry, no advisory is there twice for one, and a program's entries are together", () => {
  assert.deepEqual([...new Set(knownHoles.map(({ program }) => program))], programs);
  const seen = knownHoles.flatMap(({ program, advisories }) => advisories.map((advisory) => `${program} ${advisory}`));
  assert.equal(new Set(seen).size, seen.length);
  const order = knownHoles.map(({ program }) => programs.indexOf(program));
  assert.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
  );
});

/** The advisories of a version. */
function advisoriesOf(program: string, version: Partial<InstalledVersion>): string[] {
  const installed = { own: undefined, package: undefined, ...version };
  return knownHoles
    .filter((hole) => hole.program === program && isVulnerable(hole, installed))
    .flatMap((hole) => hole.advisories);
}

const proc = ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"];

test("each branch of runc has its own fix, and a release candidate may have it", () => {
  const has = (own: string) => advisoriesOf("runc", { own }).filter((advisory) => proc.includes(advisory)).length > 0;
  for (const version of ["1.0.0-rc5", "1.1.15", "1.2.7", "1.2.7+ds1", "1.3.0", "1.3.2", "1.4.0-rc.2", "1.3.0-rc.1+dev"])
    assert.equal(has(version), true, version);
  for (const version of ["1.2.8", "v1.2.9", "1.3.3", "1.4.0-rc.3", "1.4.0", "1.5.0", "2.0.0"])
    assert.equal(has(version), false, version);
});

test("a distribution's fix counts from its revision on, and for that version alone", () => {
  const has = (version: string) => advisoriesOf("runc", { package: version }).includes("CVE-2024-21626");
  assert.deepEqual(
    ["1.1.5+ds1-1", "1.1.5+ds1-1+deb12u1", "1.1.5+ds1-1+deb12u3", "1.1.4+ds1-9", "1.1.12-1", "1.0.0~rc92+ds1-1"].map(
      has,
    ),
    [true, false, false, true, false, false],
  );
  // The program itself does not have the revision.
  assert.ok(advisoriesOf("runc", { own: "1.1.5+ds1" }).includes("CVE-2024-21626"));
});

test("what Debian 12 has is known", () => {
  assert.deepEqual(advisoriesOf("runc", { package: "1.1.5+ds1-1+deb12u1" }), [...proc, "CVE-2026-41579"]);
  assert.deepEqual(advisoriesOf("crun", { package: "1.8.1-1+deb12u1" }), ["CVE-2026-88264", "CVE-2026-88265"]);
  assert.deepEqual(advisoriesOf("conmon", { package: "2.1.6+ds1-1" }), []);
  assert.deepEqual(advisoriesOf("portmap", { package: "1.1.1+ds1-3+b5" }), []);
  assert.deepEqual(advisoriesOf("runsc", { own: "0.0~20240729.0" }), ["CVE-2026-96812", "CVE-2025-2713"]);
});

test("the newest releases have no known holes", () => {
  for (const [program, own] of [
    ["runc", "1.5.3"],
    ["crun", "1.30"],
    ["conmon", "2.2.1"],
    ["runsc", "release-20261116.0"],
    ["portmap", "v1.9.1"],
    ["bridge", "v1.9.1"],
  ] as const)
    assert.deepEqual(advisoriesOf(program, { own }), []);
});

test("a version that is not known, or odd, has none that we know of", () => {
  for (const version of ["", "unknown", "1.1.5; rm -rf /", "9".repeat(1000), "\u0000"]) {
    assert.deepEqual(advisoriesOf("runc", { own: version }), []);
    assert.deepEqual(advisoriesOf("runc", { package: version }), []);
  }
  assert.deepEqual(advisoriesOf("runc", {}), []);
});
