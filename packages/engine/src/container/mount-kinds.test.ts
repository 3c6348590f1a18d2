import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { findPlaces } from "@keelson/linux/place.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import { checkMountKinds, knownMounts } from "./mount-kinds.ts";

/** Why a directory or file cannot be mounted at a place in an image; undefined when it can. */
function problemIn(t: TestContext, prepare: (root: string) => void = () => {}) {
  const root = mkdtempSync(join(tmpdir(), "keelson-kinds-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const dir of ["etc", "var/lib"]) mkdirSync(join(root, dir), { recursive: true });
  writeFileSync(join(root, "etc/passwd"), "");
  symlinkSync("/etc/passwd", join(root, "var/users"));
  symlinkSync("/etc", join(root, "settings"));
  prepare(root);
  return async (destination: string, isDirectory: boolean, others: readonly string[] = []) => {
    try {
      await checkMountKinds(
        { findPlaces },
        root,
        [{ destination, isDirectory, what: "/srv/x" }],
        [...others, destination],
      );
      return undefined;
    } catch (error) {
      assert.ok(error instanceof StatusError && error.code === Code.InvalidArgument, String(error));
      return error.message;
    }
  };
}

test("directories go over directories, files over files, and either where the image has nothing", async (t) => {
  const problem = problemIn(t);
  for (const [destination, isDirectory] of [
    ["/etc", true],
    ["/settings", true],
    ["/etc/passwd", false],
    ["/var/users", false],
    ["/new/dir", true],
    ["/etc/new", false],
  ] as const)
    assert.equal(await problem(destination, isDirectory), undefined, destination);
});

test("a directory over a file, a file over a directory, and anything below a file are refused, also through links", async (t) => {
  const problem = problemIn(t);
  for (const destination of ["/etc/passwd", "/var/users", "/settings/passwd"])
    assert.match(
      (await problem(destination, true)) ?? "",
      new RegExp(`^mount at "${destination}" in the container: /srv/x is a directory, and the image has a file there`),
    );
  for (const destination of ["/etc", "/settings", "/var/lib"])
    assert.match(
      (await problem(destination, false)) ?? "",
      /: \/srv\/x is a file, and the image has a directory there/,
    );
  for (const isDirectory of [true, false])
    assert.match(
      (await problem("/var/users/a/b", isDirectory)) ?? "",
      /the image has a file at "\/etc\/passwd", and nothing/,
    );
});

test("what another mount covers is left to the runtime", async (t) => {
  const problem = problemIn(t);
  assert.equal(await problem("/etc/passwd", true, ["/etc"]), undefined);
  assert.equal(await problem("/etc/passwd", true, ["/settings"]), undefined, "through a link");
  assert.equal(await problem("/etc/passwd/x", true, ["/etc/passwd"]), undefined);
  assert.equal(await problem("/etc/passwd", true, ["/var/users"]), undefined, "at the same place through a link");
  assert.notEqual(await problem("/etc/passwd", true, ["/et", "/etc/passwd2", "/"]), undefined);
});

test("links of the image without end are refused with the mount", async (t) => {
  const problem = problemIn(t, (root) => symlinkSync("loop", join(root, "loop")));
  assert.match((await problem("/loop/x", true)) ?? "", /^mount at "\/loop\/x" in the container: .*too many links/);
});

test("a part of an image that is mounted is a directory or a file as it is there", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "keelson-kinds-"));
  t.after(() => rmSync(root, { recursive: true }));
  writeFileSync(join(root, "file"), "");
  const mounts = ["", "file"].map((subPath) => ({
    destination: `/mnt/${subPath}`,
    source: { is: "image", image: "tools", subPath },
  })) as unknown as ContainerPlan["mounts"];
  const facts = { plan: { mounts }, hostPaths: new Map(), mountSources: [root, join(root, "file")], podFiles: [] };
  const found = await knownMounts({ findPlaces }, facts, { ociVersion: "1.0.2" });
  assert.deepEqual(
    found.map(({ what, isDirectory }) => [what, isDirectory]),
    [
      ['"/" of image tools', true],
      ['"file" of image tools', false],
    ],
  );
});
