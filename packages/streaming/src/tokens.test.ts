import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, codeOf } from "@keelson/base/status.ts";
import { shownToken, Tokens } from "./tokens.ts";

test("a token is valid once, and only for its own kind of request", () => {
  const tokens = new Tokens<string>(() => 0);
  const [a, b] = [tokens.add("a"), tokens.add("b")];
  assert.notEqual(a, b);
  assert.match(a, /^[A-Za-z0-9_-]{24}$/);
  assert.equal(
    tokens.take(a, (request) => request === "b"),
    undefined,
  );
  assert.equal(
    tokens.take(a, () => true),
    "a",
  );
  assert.equal(
    tokens.take(a, () => true),
    undefined,
  );
  for (const none of ["", "x", a.slice(1), `${b}x`, "__proto__"])
    assert.equal(
      tokens.take(none, () => true),
      undefined,
    );
  assert.equal(
    tokens.take(b, () => true),
    "b",
  );
});

test("a token is valid for a minute", () => {
  let nowMs = 1000;
  const tokens = new Tokens<string>(() => nowMs);
  const [early, late] = [tokens.add("early"), ((nowMs += 1), tokens.add("late"))];
  nowMs = 61_000;
  assert.equal(
    tokens.take(early, () => true),
    undefined,
  );
  assert.equal(
    tokens.take(late, () => true),
    "late",
  );
});

test("at most a thousand are unused; using one, or its expiry, makes room", () => {
  let nowMs = 0;
  const tokens = new Tokens<number>(() => nowMs);
  const all = Array.from({ length: 1000 }, (_, i) => tokens.add(i));
  assert.throws(
    () => tokens.add(1000),
    (e: unknown) => codeOf(e) === Code.ResourceExhausted,
  );
  tokens.take(all[500]!, () => true);
  tokens.add(1000);
  assert.throws(
    () => tokens.add(1001),
    (e: unknown) => codeOf(e) === Code.ResourceExhausted,
  );
  nowMs = 60_000;
  for (let i = 0; i < 1000; i += 1) tokens.add(i);
});

test("logs show only the beginning of a token", () => {
  assert.equal(shownToken("abcdefghijklmnop"), "abcd…");
});
