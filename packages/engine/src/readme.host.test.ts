import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";

interface Example {
  readonly outputOf: (paths: { root: string; state: string }, image: string, cmd: string[]) => Promise<string>;
}

test("the README's example runs a pod in its own process, without gRPC and without a socket", { skip }, async (t) => {
  const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");
  // Beside the source, where the packages' names are found.
  const source = mkdtempSync(join(import.meta.dirname, "../.readme-"));
  t.after(() => rmSync(source, { recursive: true }));
  writeFileSync(join(source, "example.ts"), /```ts\n(.*?)```/s.exec(readme)?.[1] ?? "");
  const dir = mkdtempSync("/run/keelson-readme-");
  t.after(() => rmSync(dir, { recursive: true }));
  await using registry = await Registry.start();
  const image = registry.add("library/busybox", "latest", busyboxImage());
  const { outputOf } = (await import(join(source, "example.ts"))) as Example;
  const paths = { root: join(dir, "root"), state: join(dir, "state") };
  assert.equal(await outputOf(paths, image, ["echo", "hello"]), "hello\n");
  // A root is free again for the next engine.
  assert.equal(await outputOf(paths, image, ["sh", "-c", "echo again"]), "again\n");
});
