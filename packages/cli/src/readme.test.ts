import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startFakeRuntime } from "./testing/fake-runtime.ts";

test("the examples of README.md work", async (t) => {
  const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");
  const lines = /```sh\n([^]*?)```/.exec(readme)![1]!.trim().split("\n");
  assert.equal(lines.length, 4);
  const fake = await startFakeRuntime(t);
  for (const line of lines) {
    const args = line.split(" ").map((arg) => arg.replaceAll("'", ""));
    assert.equal(args[0], "keelctl");
    assert.equal((await fake.keelctl(...args.slice(1))).code, 0, line);
  }
});
