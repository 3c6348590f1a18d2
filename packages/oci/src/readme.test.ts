import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";

test("the README's example works", async (t) => {
  const readme = await readFile(join(import.meta.dirname, "../README.md"), "utf8");
  // Beside the source, where the packages' names are found.
  const dir = await mkdtemp(join(import.meta.dirname, "../.readme-"));
  t.after(() => rm(dir, { recursive: true }));
  await writeFile(join(dir, "example.ts"), /```ts\n(.*?)```/s.exec(readme)?.[1] ?? "");
  await using registry = await Registry.start();
  const image = makeImage([makeLayer([])]);
  const name = registry.add("a/b", "v1", image);
  const example = (await import(join(dir, "example.ts"))) as {
    digestOfImage: (name: string, signal: AbortSignal) => Promise<string>;
  };
  assert.equal(await example.digestOfImage(name, AbortSignal.timeout(10_000)), image.manifest.digest);
});
