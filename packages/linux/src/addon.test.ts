// What the addon as a whole promises: native/addon.c and native/operation.c.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { builtFile, native } from "./native.ts";
import { compile } from "./testing/compile.ts";

test("the static data that changes is atomic: all threads share it", () => {
  const symbols = execFileSync("objdump", ["--syms", builtFile("linux.node")], { encoding: "utf8" });
  // Those in a function have a number behind them; the C runtime's own begin with an underscore, or are `completed`.
  const variables = [...symbols.matchAll(/ O \.(?:data|bss)\t\S+ +(?!_|completed)(\w+)(?:\.\d+)?$/gm)];
  const directory = new URL("../native/", import.meta.url);
  const sources = globSync("*.c", { cwd: directory }).map((name) => readFileSync(new URL(name, directory), "utf8"));
  assert.ok(variables.length > 0);
  for (const [, name] of variables)
    assert.ok(
      sources.some((source) => new RegExp(`static atomic_\\w+ ${name}\\b`).test(source)),
      `${name} is not atomic`,
    );
});

test("an operation that the pool does not take rejects, and is freed as any other", (t) => {
  assert.equal(
    execFileSync(compile(t, "op-start"), { encoding: "utf8" }),
    `create works, queue works: a promise, resolved, work deleted, op freed
create works, queue fails: rejected (queue work on the thread pool), work deleted, op freed, a promise
create fails, queue fails: rejected (queue work on the thread pool), op freed, a promise
`,
  );
});

test("a call without one of its properties is refused by that property's name", () => {
  const call = { source: null, target: "/", fstype: null, flags: 0, data: null };
  const without = (name: string) => Object.fromEntries(Object.entries(call).filter(([key]) => key !== name));
  for (const [given, message] of [
    [without("target"), "target must be a string or bytes"],
    [without("flags"), "flags must be a number"],
    [{ ...call, data: 1 }, "data must be a string or bytes"],
    [{ ...call, target: "/\0" }, "target must be without NUL bytes"],
    [1, "target must be a string or bytes"],
  ] as const)
    assert.throws(() => native.mount(given as never), { name: "TypeError", message });
  assert.throws(() => (native.mount as () => void)(), { name: "TypeError", message: /argument list/ });
});
