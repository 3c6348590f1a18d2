import assert from "node:assert/strict";
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { file } from "@keelson/testkit/tar.ts";

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

test("the README's example works", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "keelson-images-"));
  // Beside the source, where the packages' names are found.
  const beside = mkdtempSync(join(import.meta.dirname, "../.readme-"));
  t.after(() => [root, beside].forEach((dir) => rmSync(dir, { recursive: true })));
  writeFileSync(join(beside, "example.ts"), /```ts\n([^]*?)```/.exec(readme)?.[1] ?? "");
  const example = (await import(join(beside, "example.ts"))) as {
    pullLayers: (root: string, reference: string) => Promise<string[]>;
  };
  await using registry = await Registry.start();
  const reference = registry.add("a/b", "v1", makeImage([makeLayer([file("a", "")]), makeLayer([file("b", "")])]));
  const layers = await example.pullLayers(root, reference);
  assert.deepEqual(
    layers.map((dir) => readdirSync(dir)),
    [["b"], ["a"]],
  );
});

test("the README names every file", () => {
  const files = globSync(["*.ts", "unpack/*.ts"], { cwd: import.meta.dirname }).filter(
    (name) => !name.endsWith(".test.ts"),
  );
  assert.deepEqual(
    files.filter((name) => !readme.includes(`\`${name}\``) && !readme.includes(`\`${basename(name)}\``)),
    [],
  );
});
