import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

test("the README's example runs as it is", (t) => {
  const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");
  const example = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  // Beside the sources, where @keelson/testkit resolves.
  const script = join(import.meta.dirname, `.readme-${process.pid}.ts`);
  t.after(() => rmSync(script));
  writeFileSync(script, example);
  const output = execFileSync(process.execPath, [script], { encoding: "utf8" });
  assert.match(
    output,
    /^a client can now pull 127\.0\.0\.1:\d+\/library\/busybox:latest, and has to resume once\n\[\]\n$/,
  );
});
