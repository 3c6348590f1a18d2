import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, codeName, StatusError, toStatus, wrapError } from "./status.ts";

test("a wrapped error keeps its code and reads from the outside in", () => {
  const inner = new StatusError(Code.NotFound, "no such image");
  const outer = wrapError("create container web", inner);
  assert.deepEqual(toStatus(outer), { code: Code.NotFound, message: "create container web: no such image" });
  assert.equal(outer.cause, inner);
});

test("an errno by itself is Internal, whatever its name", () => {
  const error = Object.assign(new Error("open /x"), { code: "ENOENT" });
  assert.equal(toStatus(error).code, Code.Internal);
});

test("when the cleanup fails too, the first error comes first and determines the code", () => {
  const both = new SuppressedError(new Error("rmdir"), new StatusError(Code.InvalidArgument, "bad name"));
  assert.deepEqual(toStatus(both), { code: Code.InvalidArgument, message: "bad name (and while cleaning up: rmdir)" });
});

test("an aborted signal becomes Cancelled or DeadlineExceeded by its reason", async () => {
  assert.equal(toStatus(AbortSignal.abort().reason).code, Code.Cancelled);
  const timeout = AbortSignal.timeout(0);
  await new Promise((resolve) => timeout.addEventListener("abort", resolve));
  assert.equal(toStatus(timeout.reason).code, Code.DeadlineExceeded);
});

test("every code has its name", () => {
  assert.equal(codeName(5), "NotFound");
  assert.equal(codeName(99), "Code(99)");
});
