import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

/** Runs batches at once that share files with these contents; what each printed as TAP. */
async function runBatches(t: TestContext, count: number, contents: Record<string, string>): Promise<string[]> {
  const dir = mkdtempSync(join(tmpdir(), "keelson-batch-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const claims = join(dir, "claims");
  mkdirSync(claims);
  const files = Object.entries(contents).map(([name, content]) => {
    const file = join(dir, `${name}.mjs`);
    writeFileSync(file, `import { after, before, test } from "node:test";\n${content}`);
    return file;
  });
  const args = ["--test-reporter=tap", join(import.meta.dirname, "unit-batch.ts"), claims, ...files];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const runOne = () =>
    new Promise<string>((resolve) =>
      execFile(process.execPath, args, { env, cwd: dir }, (_, stdout) => resolve(stdout)),
    );
  return await Promise.all(Array.from({ length: count }, runOne));
}

const results = (tap: string) =>
  tap.match(/^ *(not )?ok \d+ - .*$/gm)?.map((line) => line.trim().replace(/ \d+ - .*\//, " ")) ?? [];

test("files run one after the other, each with its own hooks, and each only once between the batches", async (t) => {
  const content = `
    before(() => { if (globalThis.busy) throw new Error("two at once"); globalThis.busy = true; });
    after(() => { globalThis.busy = false; });
    test("one", () => new Promise((resolve) => setTimeout(resolve, 10)));`;
  const contents = Object.fromEntries(["a", "b", "c", "d", "e", "f"].map((name) => [name, content]));
  const lines = (await runBatches(t, 2, contents)).flatMap(results);
  assert.deepEqual(
    lines.filter((line) => line.endsWith(".mjs")).sort(),
    ["a", "b", "c", "d", "e", "f"].map((name) => `ok ${name}.mjs`),
  );
});

test("a file that cannot be loaded or changes the process fails; those after it run", async (t) => {
  const [tap = ""] = await runBatches(t, 1, {
    broken: "throw new Error('broken');",
    env: "test('sets a variable', () => { process.env.KEELSON_LEFT = '1'; });",
    cwd: "test('moves', () => process.chdir('/'));",
    good: "test('is good', () => {});",
  });
  assert.deepEqual(
    results(tap).filter((line) => line.endsWith(".mjs")),
    ["not ok broken.mjs", "not ok env.mjs", "not ok cwd.mjs", "ok good.mjs"],
  );
  assert.match(tap, /env\.mjs changes the process for the files after it/);
});
