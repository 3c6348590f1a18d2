import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Log } from "@keelson/base/log.ts";
import { ProgramChecks, versionSaid } from "./program-checks.ts";

interface Machine {
  readonly dir: string;
  readonly warnings: string[];
  readonly checks: ProgramChecks;
  /** Puts a program there that prints this, and records that it was executed. */
  program(name: string, prints: string): string;
  /** Makes dpkg know a package with these files. */
  install(name: string, version: string, files: readonly string[]): void;
  executed(name: string): boolean;
}

function machine(t: TestContext, refuses = false): Machine {
  const dir = mkdtempSync(join(tmpdir(), "keelson-holes-"));
  t.after(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, "dpkg/info"), { recursive: true });
  const warnings: string[] = [];
  const log: Log = { debug() {}, info() {}, warn: (_fields, text) => void warnings.push(text), error() {} };
  return {
    dir,
    warnings,
    checks: new ProgramChecks({ log, refuses, dpkgDir: join(dir, "dpkg") }),
    program(name, prints) {
      const path = join(dir, name);
      writeFileSync(path, `#!/bin/sh\necho x >${path}.executed\ncat <<'end'\n${prints}\nend\n`);
      chmodSync(path, 0o755);
      return path;
    },
    install(name, version, files) {
      writeFileSync(join(dir, `dpkg/info/${name}.list`), `${files.join("\n")}\n`);
      const paragraph = `Package: ${name}\nStatus: install ok installed\nVersion: ${version}\n\n`;
      writeFileSync(join(dir, "dpkg/status"), paragraph, { flag: "a" });
    },
    executed: (name) => existsSync(join(dir, `${name}.executed`)),
  };
}

test("a program with known holes is named once in the log, with its version, its advisories and what to do", async (t) => {
  const m = machine(t);
  const path = m.program("crun", "crun version 1.8.1\ncommit: f8a0");
  await m.checks.look([{ path }, { path }]);
  await m.checks.look([{ path }]);
  assert.deepEqual(m.warnings, [
    "crun 1.8.1 has known holes: CVE-2026-88264, CVE-2026-88265; install a release that has them closed (1.30 or newer)",
  ]);
  assert.deepEqual(
    m.checks.found().map(({ program, version, holes }) => [program, version, holes.length]),
    [["crun", "1.8.1", 1]],
  );
  assert.equal(m.checks.refusal(path), undefined, "nothing is refused unless that is asked for");
});

test("when they are to be refused, the reason names program, version, advisories, what to do and the setting", async (t) => {
  const m = machine(t, true);
  const [old, fixed] = [m.program("old", ""), m.program("new", "")];
  assert.equal(m.checks.refusal(old), undefined, "nobody has looked yet");
  await m.checks.look([
    { path: old, answer: "runc version 1.1.15\n" },
    { path: fixed, answer: "runc version 1.5.3\n" },
  ]);
  assert.equal(
    m.checks.refusal(old),
    `${old}: runc 1.1.15 has known holes: CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579; install a release that has them closed (1.3.6, 1.4.3, 1.5.0-rc.3 or newer), or set security.refuse_known_vulnerable to false`,
  );
  assert.equal(m.checks.refusal(fixed), undefined);
});

test("a program that is replaced is looked at again", async (t) => {
  const m = machine(t, true);
  const path = m.program("runc", "runc version 1.1.15");
  await m.checks.look([{ path }]);
  m.program("runc", "runc version 1.5.3");
  utimesSync(path, 1, 1);
  await m.checks.look([{ path }]);
  assert.deepEqual([m.checks.refusal(path), m.checks.found()], [undefined, []]);
});

test("a program of a package has the distribution's version, and is not executed for it", async (t) => {
  const m = machine(t);
  const runc = m.program("runc", "runc version 1.1.5+ds1");
  const portmap = m.program("portmap", "CNI portmap plugin version unknown");
  m.install("runc", "1.1.5+ds1-1+deb12u1", [runc]);
  m.install("containernetworking-plugins", "1.7.1+ds1-1", [portmap]);
  await m.checks.look([{ path: runc }, { path: portmap }]);
  assert.deepEqual(
    m.checks
      .found()
      .map(({ program, version, holes }) => [program, version, holes.flatMap(({ advisories }) => advisories)]),
    [
      ["portmap", "1.7.1+ds1-1", ["CVE-2025-67499"]],
      ["runc", "1.1.5+ds1-1+deb12u1", ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881", "CVE-2026-41579"]],
    ],
  );
  assert.match(m.warnings.join(), /the CNI plugin portmap 1\.7\.1/);
  assert.deepEqual([m.executed("runc"), m.executed("portmap")], [false, false]);
});

test("what a program has said already counts, also against its package, whose file somebody may have replaced", async (t) => {
  const m = machine(t);
  const runc = m.program("runc", "");
  m.install("runc", "1.1.5+ds1-1+deb12u1", [runc]);
  await m.checks.look([{ path: runc, answer: "runc version 1.5.3\n" }]);
  assert.deepEqual([m.checks.found(), m.executed("runc")], [[], false]);
  const other = machine(t);
  const path = other.program("runc", "");
  other.install("runc", "1.1.5+ds1-1+deb12u1", [path]);
  await other.checks.look([{ path, answer: "runc version 1.1.5+ds1\ncommit: x\n" }]);
  assert.equal(other.checks.found()[0]!.version, "1.1.5+ds1-1+deb12u1");
});

test("programs that say nothing, hang, are missing or are not known have no known holes", async (t) => {
  const m = machine(t, true);
  const paths = [
    m.program("runc", ""),
    m.program("crun", "youki version 0.0.1"),
    m.program("runsc", "runsc version $(id)"),
    join(m.dir, "missing/conmon"),
    m.program("portmap", "end\nexec sleep 60\ncat <<'end'"),
    m.program("bridge", "end\nexec yes\ncat <<'end'"),
  ];
  await m.checks.look(paths.map((path) => ({ path })));
  assert.deepEqual([m.checks.found(), m.warnings], [[], []]);
});

test("a program of another name is not executed to be known", async (t) => {
  const m = machine(t, true);
  await m.checks.look([{ path: m.program("wrapper", "conmon version 2.0.0") }]);
  assert.deepEqual([m.checks.found(), m.executed("wrapper")], [[], false]);
});

test("versions are read from what programs print, and from nothing else", () => {
  for (const [text, program, version] of [
    ["runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\n", "runc", "1.1.5+ds1"],
    ["crun version 1.8.1\ncommit: f8a0\n", "crun", "1.8.1"],
    ["conmon version 2.1.6\ncommit: unknown\n", "conmon", "2.1.6"],
    ["runsc version release-20250319.0\nspec: 1.1.0\n", "runsc", "release-20250319.0"],
    ["\nCNI portmap plugin v1.4.0\nCNI protocol versions supported: 1.0.0\n", "portmap", "v1.4.0"],
    ["CNI portmap plugin version unknown\n", "portmap", undefined],
    ["runc version \n1.0", undefined, undefined],
    ["this is not runc version 1.0", undefined, undefined],
    [`${"x".repeat(100_000)}\nrunc version 1.0`, undefined, undefined],
  ] as const) {
    const said = versionSaid(text);
    assert.deepEqual([said.program, said.version], [program, version], text.slice(0, 40));
  }
});

test("docs/security.md names every program of the table", () => {
  const text = readFileSync(join(import.meta.dirname, "../../../../docs/security.md"), "utf8");
  for (const word of ["runc", "crun", "conmon", "runsc", "CNI plugin", "refuse_known_vulnerable", "known-holes.ts"])
    assert.ok(text.includes(word), word);
});
