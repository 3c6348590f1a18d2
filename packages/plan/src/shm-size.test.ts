import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { defaultShmBytes, planShmSize, shmSizeAnnotation } from "./shm-size.ts";

const allowed = { defaultBytes: defaultShmBytes, annotationIsAllowed: true };
const planned = (text: string) => planShmSize({ [shmSizeAnnotation]: text }, allowed);

test("/dev/shm has the configured size, whatever an annotation says that is not allowed", () => {
  assert.equal(planShmSize({}, allowed), 64 * 2 ** 20);
  assert.equal(planShmSize({}, { defaultBytes: 4096, annotationIsAllowed: true }), 4096);
  for (const text of ["1Gi", "nonsense"])
    assert.equal(planShmSize({ [shmSizeAnnotation]: text }, { defaultBytes: 4096, annotationIsAllowed: false }), 4096);
});

for (const [text, bytes] of [
  ["1", 1],
  ["4096", 4096],
  ["128Mi", 2 ** 27],
  ["128m", 2 ** 27],
  ["128MB", 2 ** 27],
  ["1Gi", 2 ** 30],
  ["1GiB", 2 ** 30],
  ["2k", 2048],
  ["1T", 2 ** 40],
] as const) {
  test(`an annotation of ${text} means ${bytes} bytes`, () => assert.equal(planned(text), bytes));
}

for (const text of ["", "0", "0Gi", "-1", "1.5Gi", "1e9", "64 Mi", "1X", "1Gi,mode=777", "999999999999999t", "１"]) {
  test(`an annotation of ${JSON.stringify(text)} is refused`, () => {
    assert.throws(() => planned(text), {
      code: Code.InvalidArgument,
      message: /^annotations\["io\.kubernetes\.cri-o\.ShmSize"\] /,
    });
  });
}
