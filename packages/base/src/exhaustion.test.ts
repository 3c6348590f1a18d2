import assert from "node:assert/strict";
import { test } from "node:test";
import { exhaustionOf, namingFile, withPath } from "./exhaustion.ts";
import { Code, codeOf, StatusError, wrapError } from "./status.ts";

function systemError(code: string, path?: string): Error {
  return Object.assign(new Error(`${code}: it says so, write`), {
    code,
    errno: 28,
    syscall: "write",
    ...(path === undefined ? {} : { path }),
  });
}

for (const code of ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM"]) {
  test(`${code} is ResourceExhausted with advice, however deep it is, and keeps every message on the way`, () => {
    const error = wrapError("create container app", wrapError("make its spec", systemError(code, "/run/x")));
    const told = exhaustionOf(error);
    assert.equal(told?.code, Code.ResourceExhausted);
    assert.match(told.message, new RegExp(`^create container app: make its spec: ${code}: .*; .*(free|raise)`));
    assert.equal(exhaustionOf(systemError(code))?.code, Code.ResourceExhausted);
  });
}

test("a read-only file system is FailedPrecondition", () => {
  assert.equal(exhaustionOf(systemError("EROFS"))?.code, Code.FailedPrecondition);
});

test("an error's code is that of the failure, not of the cleanup", () => {
  assert.equal(
    exhaustionOf(new SuppressedError(systemError("EIO"), systemError("EMFILE")))?.code,
    Code.ResourceExhausted,
  );
  assert.equal(exhaustionOf(new SuppressedError(systemError("EMFILE"), systemError("EIO"))), undefined);
});

test("other errors, and codes that were chosen, stay as they are", () => {
  for (const code of ["ENOENT", "EACCES", "EPERM", "EBUSY", "EIO", "toString"])
    assert.equal(exhaustionOf(systemError(code)), undefined);
  assert.equal(exhaustionOf(new StatusError(Code.InvalidArgument, "too long", systemError("ENOSPC"))), undefined);
  assert.equal(
    exhaustionOf(wrapError("pull", new StatusError(Code.DataLoss, "cut off", systemError("ENOSPC")))),
    undefined,
  );
  for (const odd of [undefined, null, "ENOSPC", { code: "ENOSPC" }, new Error("x")])
    assert.equal(exhaustionOf(odd), undefined);
  const circle = new Error("x");
  circle.cause = new Error("y", { cause: "ENOSPC" });
  assert.equal(exhaustionOf(circle), undefined);
});

test("the error of a write names the file, once", () => {
  const named = withPath(systemError("ENOSPC"), "/run/a") as Error & { path: string };
  assert.deepEqual(
    [named.message, named.path, exhaustionOf(named)?.code],
    ["ENOSPC: it says so, write '/run/a'", "/run/a", Code.ResourceExhausted],
  );
  assert.equal(withPath(named, "/run/b"), named);
  const status = new StatusError(Code.NotFound, "gone");
  assert.throws(
    () =>
      namingFile("/run/a", () => {
        throw status;
      }),
    status,
  );
  assert.throws(
    () =>
      namingFile("/run/a", () => {
        throw systemError("EDQUOT");
      }),
    /'\/run\/a'$/,
  );
  assert.equal(
    namingFile("/run/a", () => 7),
    7,
  );
  assert.equal(codeOf(named), Code.Internal);
});
