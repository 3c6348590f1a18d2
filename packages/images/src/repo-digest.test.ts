import assert from "node:assert/strict";
import { test } from "node:test";
import { repoDigestOf } from "./repo-digest.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const image = {
  repoDigests: [
    `docker.io/library/busybox@${digest("a")}`,
    `docker.io/library/busybox@${digest("b")}`,
    `mirror.example/library/busybox@${digest("c")}`,
  ],
};

for (const [names, repoDigest] of [
  [["busybox:1.36"], image.repoDigests[0]],
  [["docker.io/library/busybox"], image.repoDigests[0]],
  [["mirror.example/library/busybox:1"], image.repoDigests[2]],
  [[`docker.io/library/busybox@${digest("b")}`], image.repoDigests[1]],
  [["", digest("0")], image.repoDigests[0]],
  [["what the user wrote", `mirror.example/library/busybox@${digest("0")}`], image.repoDigests[2]],
  [["quay.io/other"], image.repoDigests[0]],
  [["mirror.example/library/busy"], image.repoDigests[0]],
  [[], image.repoDigests[0]],
] as const)
  test(`called ${JSON.stringify(names).slice(0, 60)}`, () => assert.equal(repoDigestOf(image, names), repoDigest));

test("an image that no registry has served has none", () =>
  assert.equal(repoDigestOf({ repoDigests: [] }, ["busybox"]), undefined));
