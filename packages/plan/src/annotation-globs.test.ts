import assert from "node:assert/strict";
import { test } from "node:test";
import { isAnnotationGlob, passedAnnotations } from "./annotation-globs.ts";

const keysPassed = (glob: string, ...keys: string[]) =>
  Object.keys(passedAnnotations({ pod: [glob], container: [] }, Object.fromEntries(keys.map((key) => [key, "v"]))));

test("* stands for any characters except a slash, ? for one, everything else for itself", () => {
  for (const [glob, keys, expected] of [
    [
      "io.katacontainers.*",
      [
        "io.katacontainers.config.hypervisor.default_memory",
        "io.katacontainers.",
        "io_katacontainers.x",
        "io.katacontainers.a/b",
      ],
      ["io.katacontainers.", "io.katacontainers.config.hypervisor.default_memory"],
    ],
    ["*", ["plain", "a/b"], ["plain"]],
    ["*/*", ["plain", "a/b", "a/b/c"], ["a/b"]],
    ["a?c", ["abc", "a/c", "ac", "abbc"], ["abc"]],
    ["*.x*y", ["a.xzy", "a.x.xby", "a.xyz"], ["a.x.xby", "a.xzy"]],
    ["exact/key", ["exact/key", "exact/keys"], ["exact/key"]],
    ["**a", ["a", "ba", "b"], ["a", "ba"]],
  ] as const) {
    assert.deepEqual(keysPassed(glob, ...keys), expected, glob);
  }
});

test("a pattern with many stars does not take long", () => {
  assert.deepEqual(keysPassed(`${"*a".repeat(100)}b`, "a".repeat(300)), []);
});

test("pods and containers have separate patterns, and the container's value wins", () => {
  const globs = { pod: ["p.*", "both"], container: ["c.*", "both"] };
  const pod = { "p.1": "pod", "c.1": "pod", both: "pod" };
  const container = { "p.2": "container", "c.2": "container", both: "container" };
  assert.deepEqual(passedAnnotations(globs, pod, container), { both: "container", "c.2": "container", "p.1": "pod" });
  assert.deepEqual(passedAnnotations(globs, pod), { both: "pod", "p.1": "pod" });
});

test("annotations by which the CRI runtime describes containers are never passed on", () => {
  assert.deepEqual(
    keysPassed("*", "io.kubernetes.cri.container-type", "io.kubernetes.cri-o.SandboxID", "io.kubernetes.cri-other"),
    ["io.kubernetes.cri-other"],
  );
});

test("a text that cannot be a pattern is recognised", () => {
  for (const text of ["", "a b", "[ab]", "a\\b", "a\n", "a".repeat(318)])
    assert.equal(isAnnotationGlob(text), false, text);
  assert.equal(isAnnotationGlob("io.kubernetes.cri-o.*/?"), true);
});
