import assert from "node:assert/strict";
import { test } from "node:test";
import { argumentProblem } from "./argument-size.ts";

const MiB = 1024 * 1024;

/** Variables of `bytes` in all, as the kernel counts them: with their NUL and 8 for the pointer. */
function envOf(bytes: number): string[] {
  const env: string[] = [];
  for (let left = bytes; left > 0;) {
    const share = left > 130_000 ? 100_000 : left;
    env.push(`V${env.length}=`.padEnd(share - 9, "x"));
    left -= share;
  }
  return env;
}

/** What the rest takes: `/a`, its path, and the HOME that runtimes add. */
const rest = "/a".length + 9 + "/a".length + 1 + "HOME=/".length + 9;

test("one argument or variable may have 131071 bytes of UTF-8", () => {
  const longest = "x".repeat(131_071);
  const most = "é".repeat(65_536);
  assert.equal(argumentProblem({ args: ["/a", longest] }, 8 * MiB), undefined);
  assert.match(
    argumentProblem({ args: ["/a", "b", `${longest}x`] }, undefined)!,
    /^the command "\/a" cannot be executed: its argument 2 has 131072 bytes, and the kernel allows 131071 for one argument/,
  );
  assert.match(argumentProblem({ args: ["/a", most] }, 8 * MiB)!, /its argument 1 has 131072 bytes/);
  assert.match(
    argumentProblem({ args: ["/a"], env: ["A=1", `SECRET=${longest}`] }, 8 * MiB)!,
    /its variable "SECRET" has 131078 bytes/,
  );
  assert.equal(
    argumentProblem({ args: ["/a"], env: [`A=${longest}`, "A=1"] }, 8 * MiB),
    undefined,
    "of two variables with the same name the last counts",
  );
});

for (const [what, stack, limit] of [
  ["a quarter of the stack limit", 8 * MiB, 2 * MiB],
  ["at least 128 KiB", 65_536, 131_072],
  ["at most 6 MiB", 64 * MiB, 6 * MiB],
  ["at most 6 MiB, with an unlimited stack", undefined, 6 * MiB],
] as const) {
  test(`all together may have ${what}`, () => {
    assert.equal(argumentProblem({ args: ["/a"], env: envOf(limit - rest) }, stack), undefined);
    const problem = argumentProblem({ args: ["/a"], env: envOf(limit - rest + 1) }, stack)!;
    assert.match(
      problem,
      new RegExp(`come to ${limit + 1} bytes with the program's path, and the kernel allows ${limit} `),
    );
    const own = { args: ["/a"], rlimits: [{ type: "RLIMIT_STACK", soft: stack ?? 2 ** 62, hard: 2 ** 62 }] };
    assert.equal(
      argumentProblem({ ...own, env: envOf(limit - rest) }, 1),
      undefined,
      "the container's own limit counts",
    );
    assert.equal(argumentProblem({ ...own, env: envOf(limit - rest + 1) }, 2 ** 62), problem);
  });
}

test("the pointers to many small variables count", () => {
  const env = Array.from({ length: 150_000 }, (_, i) => `V${i}=`);
  assert.match(
    argumentProblem({ args: ["/a"], env }, 8 * MiB)!,
    /its 1 argument \(11 bytes\) and 150001 variables \(\d{7} bytes\)/,
  );
  assert.equal(argumentProblem({ args: ["/a"], env: env.slice(0, 100_000) }, 8 * MiB), undefined);
});

test("nothing of a value is in the message", () => {
  const secret = "hunter2".repeat(20_000);
  for (const env of [[`A=${secret}`], envOf(7 * MiB).map((entry) => entry.replace(/xxxxxxx/g, "hunter2"))])
    assert.doesNotMatch(argumentProblem({ args: ["/a"], env }, 8 * MiB)!, /hunter2/);
});
