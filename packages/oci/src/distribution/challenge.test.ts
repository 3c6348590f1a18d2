import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { parseChallenges } from "./challenge.ts";

const plain = (header: string) => parseChallenges(header).map((c) => [c.scheme, Object.fromEntries(c.parameters)]);

test("parses Bearer with quoted parameters, which may contain commas", () => {
  assert.deepEqual(
    plain('Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"'),
    [
      [
        "bearer",
        { realm: "https://auth.example/token", service: "registry.example", scope: "repository:a/b:pull,push" },
      ],
    ],
  );
});

test("parses several challenges, unquoted values, escapes and spaces around the equals sign", () => {
  assert.deepEqual(plain('Negotiate, Basic realm = "a \\"b\\"", Bearer realm=x'), [
    ["negotiate", {}],
    ["basic", { realm: 'a "b"' }],
    ["bearer", { realm: "x" }],
  ]);
});

test("anything else ends the list of challenges, quickly and without an error", () => {
  assert.deepEqual(plain(""), []);
  assert.deepEqual(plain('Bearer realm="open'), [["bearer", {}]]);
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => void parseChallenges(text)),
    { seed: 2 },
  );
  const startMs = performance.now();
  parseChallenges(`Bearer ${'a="\\'.repeat(200_000)}`);
  parseChallenges(` ,`.repeat(200_000));
  assert.ok(performance.now() - startMs < 1000);
});
