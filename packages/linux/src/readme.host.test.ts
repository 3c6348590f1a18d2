import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { run } from "./run.ts";
import { ownMounts } from "./testing/host-mounts.ts";

const base = ownMounts(import.meta.url);
if (base !== undefined) {
  test("the README's example runs", async () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const example = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? assert.fail();
    const result = await run({
      file: process.execPath,
      args: ["--input-type=module", "-e", `const dir = ${JSON.stringify(base)};\n${example}`],
      cwd: new URL(".", import.meta.url).pathname,
    });
    assert.equal(result.code, 0, result.stderr.toString());
    assert.match(result.stdout.toString(), /^\d+:\d+ 1: lo: <LOOPBACK,UP/);
    assert.deepEqual(readdirSync(base), []);
  });

  test("it names every fuzz target, and each has a corpus", () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const fuzz = new URL("../fuzz/", import.meta.url);
    const targets = readdirSync(fuzz)
      .filter((name) => name.endsWith(".c") && name !== "replay.c")
      .map((name) => name.slice(0, -2));
    const named = [...readme.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name]) => name);
    assert.deepEqual(new Set(named), new Set(targets));
    assert.deepEqual(new Set(readdirSync(new URL("corpus/", fuzz))), new Set(targets));
    for (const target of targets) assert.ok(readdirSync(new URL(`corpus/${target}/`, fuzz)).length > 0, target);
  });

  test("it names every module", () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const modules = readdirSync(new URL(".", import.meta.url)).filter(
      (name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && name !== "native.ts",
    );
    assert.deepEqual(
      modules.filter((name) => !readme.includes(`\`${name}\``)),
      [],
    );
  });
}
