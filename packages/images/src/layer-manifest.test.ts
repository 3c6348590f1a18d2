import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { compareLayer } from "./compare-layer.ts";
import {
  checksumOfFile,
  describeChange,
  manifestDigestOf,
  manifestLine,
  type ManifestLines,
  parseManifestLines,
} from "./layer-manifest.ts";
import { walkTree } from "./tree-walk.ts";

function tree(t: TestContext): string {
  const top = fs.mkdtempSync(join(tmpdir(), "keelson-manifest-"));
  t.after(() => fs.rmSync(top, { recursive: true }));
  fs.mkdirSync(join(top, "etc/deep/er"), { recursive: true });
  fs.writeFileSync(join(top, "etc/a"), "content of a");
  fs.writeFileSync(join(top, "etc/deep/er/b"), "b".repeat(700_000));
  fs.writeFileSync(join(top, "empty"), "");
  fs.writeFileSync(Buffer.from(join(top, "odd \n%20\xff"), "latin1"), "odd");
  fs.symlinkSync("../etc/with space", join(top, "etc/link"));
  return top;
}

function manifestOf(top: string): string {
  const lines = [...walkTree(top)].map((entry) => manifestLine(entry, true, () => checksumOfFile(entry.at)));
  return `${lines.join("\n")}\n`;
}

function differences(top: string, manifest: ManifestLines): string[] {
  return [...compareLayer(top, manifest)].map(
    ({ path, is, detail }) => `${is} ${path}${detail === "" ? "" : `: ${detail}`}`,
  );
}

test("a tree matches its manifest, whatever the names in it", (t) => {
  const top = tree(t);
  const text = manifestOf(top);
  assert.match(text, /^[ -~\n]*$/, "plain ASCII");
  assert.match(text, /^l 777 \d+ \d+ \.\.\/etc\/with%20space - \/etc\/link$/m);
  const manifest = parseManifestLines(text);
  assert.deepEqual([...manifest.keys()].sort(), [
    "/",
    "/empty",
    "/etc",
    "/etc/a",
    "/etc/deep",
    "/etc/deep/er",
    "/etc/deep/er/b",
    "/etc/link",
    "/odd \n%20\xff",
  ]);
  assert.deepEqual(differences(top, manifest), []);
});

const damage: Record<string, [(top: string) => void, string[]]> = {
  "a changed byte": [(top) => fs.writeFileSync(join(top, "etc/a"), "content of b"), ["changed /etc/a: other content"]],
  "a file cut short": [
    (top) => fs.truncateSync(join(top, "etc/deep/er/b"), 4096),
    ["changed /etc/deep/er/b: 4096 bytes, was 700000"],
  ],
  "a mode": [(top) => fs.chmodSync(join(top, "etc/a"), 0o4755), ["changed /etc/a: mode 4755, was 644"]],
  "a symlink's target": [
    (top) => (fs.rmSync(join(top, "etc/link")), fs.symlinkSync("/x", join(top, "etc/link"))),
    ["changed /etc/link: content /x, was ../etc/with%20space"],
  ],
  "a missing file": [(top) => fs.rmSync(join(top, "empty")), ["missing /empty"]],
  "a missing directory, reported once": [
    (top) => fs.rmSync(join(top, "etc/deep"), { recursive: true }),
    ["missing /etc/deep"],
  ],
  "an additional directory, reported once": [
    (top) => (fs.mkdirSync(join(top, "new/x"), { recursive: true }), fs.writeFileSync(join(top, "new/x/y"), "")),
    ["added /new"],
  ],
  "a directory that became a link is not followed": [
    (top) => (fs.renameSync(join(top, "etc"), join(top, "elsewhere")), fs.symlinkSync("elsewhere", join(top, "etc"))),
    ["added /elsewhere", "changed /etc: type l, was d; mode 777, was 755; content elsewhere, was -"],
  ],
};

for (const [name, [cause, expected]] of Object.entries(damage)) {
  test(`found: ${name}`, (t) => {
    const top = tree(t);
    const manifest = parseManifestLines(manifestOf(top));
    cause(top);
    assert.deepEqual(differences(top, manifest), expected);
  });
}

test("a manifest that is cut anywhere, or has a flipped bit, never passes for complete", (t) => {
  const text = manifestOf(tree(t));
  const digest = manifestDigestOf(text);
  for (let end = 0; end < text.length; end += 1) {
    assert.notEqual(manifestDigestOf(text.slice(0, end)), digest);
    try {
      parseManifestLines(text.slice(0, end));
    } catch (error) {
      assert.match((error as Error).message, /^the layer's manifest (is empty|has a malformed line)/);
    }
  }
  const flipped = Buffer.from(text);
  flipped[40]! ^= 1;
  assert.notEqual(manifestDigestOf(flipped), digest);
});

test("the last of several lines for a path counts", () => {
  const manifest = parseManifestLines("d 755 0 0 - - /\nd 755 0 0 - - /tmp\nd 1777 0 0 - - /tmp\n");
  assert.equal(manifest.get("/tmp"), "d 1777 0 0 - - /tmp");
});

test("changes are described in words", () => {
  assert.equal(
    describeChange("f 644 0 0 5:00000001 - /x", "f 600 7 0 5:00000002 ab /x"),
    "mode 600, was 644; owner 7, was 0; other content; xattrs ab, was -",
  );
});
