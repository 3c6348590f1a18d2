import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { CdiSpecDirs } from "./spec-dirs.ts";

function twoDirs(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), "cdi-"));
  t.after(() => rmSync(root, { recursive: true }));
  const [low, high] = [join(root, "etc"), join(root, "run")];
  for (const dir of [low, high]) mkdirSync(dir);
  return { root, low, high, dirs: new CdiSpecDirs([low, high]) };
}

const device = (name: string, env: string) => ({ name, containerEdits: { env: [env] } });
const json = (value: object) => JSON.stringify({ cdiVersion: "0.6.0", kind: "vendor.com/gpu", ...value });
const fails = (call: Promise<unknown>, message: RegExp) =>
  assert.rejects(call, { code: Code.FailedPrecondition, message });

test("a file's edits for all its devices come once, before those of each device", async (t) => {
  const { low, high, dirs } = twoDirs(t);
  writeFileSync(
    join(low, "a.json"),
    json({ devices: [device("0", "A=0"), device("1", "A=1")], containerEdits: { env: ["ALL=1"] } }),
  );
  writeFileSync(
    join(high, "b.yaml"),
    "cdiVersion: 0.6.0\nkind: vendor.com/net\ndevices:\n- name: eth\n  containerEdits:\n    env:\n    - NET=1\n",
  );
  const edits = await dirs.editsFor(["vendor.com/gpu=1", "vendor.com/net=eth", "vendor.com/gpu=0"]);
  assert.deepEqual(
    edits.map((e) => e.env?.[0]),
    ["ALL=1", "A=1", "NET=1", "A=0"],
  );
  assert.deepEqual(await dirs.editsFor([]), []);
});

test("new, changed and removed files are seen at once", async (t) => {
  const { low, dirs } = twoDirs(t);
  const envOf = async () => (await dirs.editsFor(["vendor.com/gpu=0"]))[0]?.env;
  await fails(envOf(), /^CDI device vendor\.com\/gpu=0 is in no specification of .*etc, .*run$/);
  writeFileSync(join(low, "a.json"), json({ devices: [device("0", "A=0")] }));
  assert.deepEqual(await envOf(), ["A=0"]);
  writeFileSync(join(low, "a.json"), json({ devices: [device("0", "A=changed")] }));
  assert.deepEqual(await envOf(), ["A=changed"]);
  rmSync(join(low, "a.json"));
  await fails(envOf(), /is in no specification/);
});

test("a later directory takes precedence; two files of one directory with the same device are an error that names both", async (t) => {
  const { low, high, dirs } = twoDirs(t);
  for (const name of ["a.json", "b.json"]) writeFileSync(join(low, name), json({ devices: [device("0", "A=low")] }));
  await fails(dirs.editsFor(["vendor.com/gpu=0"]), /is in .*a\.json and .*b\.json; remove it from all but one/);
  writeFileSync(join(high, "c.json"), json({ devices: [device("0", "A=high")] }));
  assert.deepEqual((await dirs.editsFor(["vendor.com/gpu=0"]))[0]?.env, ["A=high"]);
});

test("unusable files do not affect others, and are reported when a device is missing", async (t) => {
  const { root, low, high, dirs } = twoDirs(t);
  writeFileSync(join(low, "broken.json"), "{");
  writeFileSync(join(low, "newer.json"), json({ cdiVersion: "7.0.0", devices: [device("0", "A=0")] }));
  writeFileSync(join(low, "tabs.yaml"), "a:\n\t- b");
  writeFileSync(join(low, "huge.yaml"), "#".repeat(1024 * 1024 + 1));
  writeFileSync(join(low, "ignored.txt"), "{");
  mkdirSync(join(low, "directory.json"));
  execFileSync("mkfifo", [join(high, "fifo.json")]);
  symlinkSync(join(root, "nowhere"), join(high, "dangling.json"));
  writeFileSync(join(high, "good.json"), json({ devices: [device("0", "A=0")] }));
  assert.deepEqual((await dirs.editsFor(["vendor.com/gpu=0"]))[0]?.env, ["A=0"]);
  await assert.rejects(dirs.editsFor(["vendor.com/gpu=1"]), (e: Error) => {
    for (const words of [
      /broken\.json: /,
      /newer\.json: cdiVersion must be/,
      /huge\.yaml: has 1048577 bytes; at most 1048576/,
      /directory\.json: is not a regular file/,
      /tabs\.yaml: /,
      /and 1 more$/,
    ])
      assert.match(e.message, words);
    assert.doesNotMatch(e.message, /ignored|dangling|\n/);
    return true;
  });
});

test("nested aliases are refused, not expanded", async (t) => {
  const { low, dirs } = twoDirs(t);
  const levels = Array.from(
    { length: 12 },
    (_, i) => `k${i}: &a${i} [${Array.from({ length: 12 }, () => (i === 0 ? "x" : `*a${i - 1}`)).join(", ")}]`,
  );
  writeFileSync(join(low, "bomb.yaml"), levels.join("\n"));
  await fails(dirs.editsFor(["vendor.com/gpu=0"]), /bomb\.yaml: .*alias/i);
});

test("a directory that is not one is reported", async (t) => {
  const { low } = twoDirs(t);
  writeFileSync(join(low, "file"), "");
  await fails(new CdiSpecDirs([join(low, "file")]).editsFor(["vendor.com/gpu=0"]), /file: ENOTDIR/);
  await fails(new CdiSpecDirs([]).editsFor(["vendor.com/gpu=0"]), /no directory/);
});
