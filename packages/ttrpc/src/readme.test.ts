import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

test("the README's example runs and prints what it says", () => {
  const example = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? assert.fail();
  const script = `import { duplexPair } from "node:stream";\nconst [ours, theirs] = duplexPair();\n${example}`;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    cwd: import.meta.dirname,
    encoding: "utf8",
  });
  assert.equal(output, "hello pod, from us\no\nk\n");
});

test("it names every module", () => {
  const modules = readdirSync(import.meta.dirname).filter((name) => !name.endsWith(".test.ts"));
  assert.deepEqual(
    modules.filter((name) => !readme.includes(`\`${name}\``)),
    [],
  );
});
