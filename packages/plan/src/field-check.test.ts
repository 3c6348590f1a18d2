import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { checkInteger, checkNamePart, checkSingleLine, quote } from "./field-check.ts";

const invalid = (message: RegExp) => ({ code: Code.InvalidArgument, message });

test("a name that is empty or has a newline, NUL or slash is refused", () => {
  for (const name of ["a\nb", "a\0b", "a/b", "", "a\u007fb"])
    assert.throws(() => checkNamePart("metadata.name", name, 253), invalid(/^metadata\.name /));
  checkNamePart("metadata.name", "Üben.1_x-y", 253);
});

test("lengths and numbers are bounded, and the message names the bound", () => {
  assert.throws(() => checkSingleLine("f", "x".repeat(11), 10), invalid(/at most 10/));
  assert.throws(() => checkInteger("f", -1n, 0, 7), invalid(/from 0 to 7/));
  assert.equal(checkInteger("f", 7n, 0, 7), 7);
});

test("a message never contains a control character or an endless value", () => {
  assert.equal(quote("a\nb"), '"a\\nb"');
  assert.ok(quote("x".repeat(100_000)).length < 200);
});
