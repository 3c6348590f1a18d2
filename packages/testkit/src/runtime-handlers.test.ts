import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutRuntime } from "./runtime-binary.ts";
import { runtimeHandlers } from "./runtime-handlers.ts";

test("handlers have different names, and a shim's is missing when the shim is, or the runtime that it calls", () => {
  const handlers = runtimeHandlers();
  assert.equal(new Set(handlers.map(({ name }) => name)).size, handlers.length);
  for (const [name, called] of [
    ["runc-shim", "runc"],
    ["crun-shim", "crun"],
  ] as const) {
    const handler = handlers.find((one) => one.name === name)!;
    assert.match(
      handler.section,
      new RegExp(`^\\[runtimes\\.${name}\\]\\n.*\\npath = ".*"\\noptions = \\{ BinaryName = "${called}" \\}\\n$`, "s"),
    );
    assert.equal(handler.missing, withoutRuntime("containerd-shim-runc-v2") || withoutRuntime(called));
  }
});
