import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { formatReference, parseReference } from "./reference.ts";

const hex = "0123456789abcdef".repeat(4);

for (const [written, normal] of [
  ["busybox", "docker.io/library/busybox:latest"],
  ["busybox:1.36", "docker.io/library/busybox:1.36"],
  ["docker.io/busybox", "docker.io/library/busybox:latest"],
  ["index.docker.io/library/busybox", "docker.io/library/busybox:latest"],
  ["user/app", "docker.io/user/app:latest"],
  ["localhost/app", "localhost/app:latest"],
  ["localhost:5000/app", "localhost:5000/app:latest"],
  ["127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1"],
  ["[::1]:5000/app", "[::1]:5000/app:latest"],
  ["Registry/app", "Registry/app:latest"],
  ["registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"],
  ["a__b/c-d--e.f_g", "docker.io/a__b/c-d--e.f_g:latest"],
  [`quay.io/x@sha256:${hex}`, `quay.io/x@sha256:${hex}`],
  [`quay.io/x:v1@sha256:${hex}`, `quay.io/x:v1@sha256:${hex}`],
  [`busybox@sha512:${hex}${hex}`, `docker.io/library/busybox@sha512:${hex}${hex}`],
] as const) {
  test(`${written.slice(0, 60)} means ${normal.slice(0, 60)}`, () =>
    assert.equal(formatReference(parseReference(written)), normal));
}

for (const [written, why] of [
  ["", /empty/],
  ["Busybox", /capital/],
  ["docker.io/Library/x", /capital/],
  ["busybox:", /tag/],
  ["busybox:-x", /tag/],
  [`busybox:${"x".repeat(129)}`, /tag/],
  ["busybox@sha256:abc", /digest/],
  ["busybox@md5:d41d8cd98f00b204e9800998ecf8427e", /digest/],
  [hex, /image id/],
  ["https://quay.io/x", /not a repository|not a registry host/],
  ["a//b", /not a repository/],
  ["a/b/", /not a repository/],
  ["../etc/passwd", /not a registry host/],
  ["quay.io/../x", /not a repository/],
  ["quay.io/a_._b", /not a repository/],
  ["quay.io:port/x", /not a registry host/],
  [`quay.io/${"x".repeat(250)}`, /255/],
  ["x".repeat(10_000), /too long/],
  ["a b", /not a repository/],
  ["quay.io/x\n", /not a repository/],
] as const) {
  test(`${JSON.stringify(written.slice(0, 40))} is refused, and the error says why`, () => {
    assert.throws(
      () => parseReference(written),
      (error) => error instanceof StatusError && error.code === Code.InvalidArgument && why.test(error.message),
    );
  });
}

test("a normal form is parsed to itself, and nothing but StatusErrors is thrown", () => {
  const part = fc.oneof(
    fc.string(),
    fc.constantFrom("a", "/", ":", "@", ".", "-", "_", "localhost", "sha256:", hex, "A"),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      try {
        const normal = formatReference(parseReference(parts.join("")));
        assert.equal(formatReference(parseReference(normal)), normal);
      } catch (error) {
        assert.ok(error instanceof StatusError, String(error));
      }
    }),
    { numRuns: 2000, seed: 1 },
  );
});
