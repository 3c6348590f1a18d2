import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { readConfigDir } from "./config-dir.ts";

function makeDir(t: TestContext, files: Record<string, unknown>): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-cni-"));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const [name, value] of Object.entries(files)) {
    mkdirSync(join(dir, name, ".."), { recursive: true });
    writeFileSync(join(dir, name), typeof value === "string" ? value : JSON.stringify(value));
  }
  return dir;
}

const list = (name: string) => ({ cniVersion: "1.0.0", name, plugins: [{ type: "bridge" }] });

test("the first valid file in lexical order is used, and those before it are reported", async (t) => {
  const dir = makeDir(t, {
    "05-broken.conflist": "{",
    "07-empty.conflist": { cniVersion: "1.0.0", name: "hollow" },
    "10-b.conflist": list("b"),
    "00-notes.txt": "no configuration",
    "20-a.conflist": list("a"),
    "30-broken.conf": "{",
  });
  const { first, invalid } = await readConfigDir(dir);
  assert.equal(first?.file, join(dir, "10-b.conflist"));
  assert.equal(first.list.name, "b");
  assert.deepEqual([...invalid.keys()], [join(dir, "05-broken.conflist"), join(dir, "07-empty.conflist")]);
  assert.match(invalid.get(join(dir, "05-broken.conflist")) ?? "", /^\/.*05-broken.conflist: is not JSON/);
  assert.match(
    invalid.get(join(dir, "07-empty.conflist")) ?? "",
    /plugins: is missing, and so are .conf files in .*hollow$/,
  );
});

test("a single configuration in .conf and .json is accepted", async (t) => {
  for (const name of ["10-one.conf", "10-one.json"]) {
    const { first } = await readConfigDir(makeDir(t, { [name]: { cniVersion: "0.3.1", name: "one", type: "ptp" } }));
    assert.deepEqual(
      first?.list.plugins.map(({ type }) => type),
      ["ptp"],
    );
  }
});

test("plugins in the folder named after the network come last, unless the list forbids it", async (t) => {
  const folder = { "b/20-tuning.conf": { type: "tuning" }, "b/10-sbr.conf": { type: "sbr" } };
  const open = await readConfigDir(makeDir(t, { "10-b.conflist": list("b"), ...folder }));
  assert.deepEqual(
    open.first?.list.plugins.map(({ type }) => type),
    ["bridge", "sbr", "tuning"],
  );
  const closed = await readConfigDir(
    makeDir(t, { "10-b.conflist": { ...list("b"), loadOnlyInlinedPlugins: true }, ...folder }),
  );
  assert.deepEqual(
    closed.first?.list.plugins.map(({ type }) => type),
    ["bridge"],
  );
  const bare = await readConfigDir(makeDir(t, { "10-b.conflist": { cniVersion: "1.1.0", name: "b" }, ...folder }));
  assert.deepEqual(
    bare.first?.list.plugins.map(({ type }) => type),
    ["sbr", "tuning"],
  );
});

test("a missing or empty directory, dangling links and directories named like lists give no list", async (t) => {
  assert.deepEqual(await readConfigDir("/nonexistent/keelson"), { first: undefined, invalid: new Map() });
  const dir = makeDir(t, {});
  symlinkSync("nowhere", join(dir, "10-x.conflist"));
  assert.equal((await readConfigDir(dir)).first, undefined);
  mkdirSync(join(dir, "20-x.conflist"));
  assert.equal((await readConfigDir(dir)).first, undefined);
});

test("a file that is too large is not read", async (t) => {
  const dir = makeDir(t, { "10-x.conflist": " ".repeat((1 << 20) + 1) });
  assert.match([...(await readConfigDir(dir)).invalid.values()].join(), /is larger than 1048576 bytes/);
});
