import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { DebianPackages } from "./debian-packages.ts";

const packageVersion = (dir: string, name: string, path: string) => new DebianPackages(dir).versionOf(name, path);

function dpkgDir(t: TestContext, status: string, lists: Record<string, string>): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-dpkg-"));
  t.after(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, "info"));
  writeFileSync(join(dir, "status"), status);
  for (const [name, text] of Object.entries(lists)) writeFileSync(join(dir, "info", `${name}.list`), text);
  return dir;
}

const paragraph = (name: string, version: string, state = "installed") =>
  `Package: ${name}\nStatus: install ok ${state}\nPriority: optional\nVersion: ${version}\nDescription: x\n Package: none\n`;

test("the version is that of the package that has the file, also where /sbin is a link", async (t) => {
  const dir = dpkgDir(
    t,
    [paragraph("golang-runc", "9"), paragraph("runc", "1.1.5+ds1-1+deb12u1"), paragraph("crun", "1.8.1-1")].join("\n"),
    { runc: "/.\n/usr\n/usr/sbin\n/usr/sbin/runc\n", crun: "/bin/crun\n" },
  );
  assert.equal(await packageVersion(dir, "runc", "/usr/sbin/runc"), "1.1.5+ds1-1+deb12u1");
  assert.equal(await packageVersion(dir, "crun", "/usr/bin/crun"), "1.8.1-1");
});

test("a file of no package, a package that is not installed, and no dpkg at all have no version", async (t) => {
  const dir = dpkgDir(t, [paragraph("runc", "1.1.5-1", "config-files"), paragraph("crun", "1.8.1-1")].join("\n"), {
    runc: "/usr/sbin/runc\n",
    crun: "/usr/bin/crun\n",
    conmon: "/usr/bin/conmon\n",
  });
  assert.equal(await packageVersion(dir, "crun", "/usr/local/bin/crun"), undefined);
  assert.equal(await packageVersion(dir, "runc", "/usr/sbin/runc"), undefined);
  assert.equal(await packageVersion(dir, "conmon", "/usr/bin/conmon"), undefined);
  assert.equal(await packageVersion(join(dir, "none"), "runc", "/usr/sbin/runc"), undefined);
});

test("odd versions and files that are far too large are left alone", async (t) => {
  const dir = dpkgDir(t, paragraph("runc", "$(reboot)"), { runc: "/usr/sbin/runc\n" });
  assert.equal(await packageVersion(dir, "runc", "/usr/sbin/runc"), undefined);
  truncateSync(join(dir, "status"), 2 ** 31);
  assert.equal(await packageVersion(dir, "runc", "/usr/sbin/runc"), undefined);
});
