import assert from "node:assert/strict";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

test("the README's example works, and works again with what it left", async (t) => {
  // Beside the source, where the packages' names are found.
  const dir = mkdtempSync(join(import.meta.dirname, "../.readme-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const code = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? "";
  writeFileSync(join(dir, "example.ts"), code);
  const example = (await import(join(dir, "example.ts"))) as { readyPods: (path: string) => string[] };
  for (let times = 0; times < 2; times += 1) assert.deepEqual(example.readyPods(join(dir, "state.db")), ["web"]);
});

test("the README names every file", () => {
  const files = globSync("*.ts", { cwd: import.meta.dirname }).filter((name) => !name.endsWith(".test.ts"));
  assert.deepEqual(
    files.filter((name) => !readme.includes(`\`${name}\``)),
    [],
  );
});
