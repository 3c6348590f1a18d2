import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { systemError } from "@keelson/linux/errno.ts";
import { findCdiEdits } from "./find-edits.ts";
import type { CdiContainerEdits } from "./spec.ts";

const signal = new AbortController().signal;

function find(...edits: CdiContainerEdits[]) {
  const asked: string[] = [];
  const resolveHostPaths = (paths: readonly string[]) => {
    asked.push(...paths);
    return Promise.resolve(
      paths.map((path) =>
        path.startsWith("/no/")
          ? { error: systemError(`resolve ${path}`, 2, "realpath") }
          : { path, isDirectory: true },
      ),
    );
  };
  return {
    asked,
    found: findCdiEdits(
      { cdi: { editsFor: () => Promise.resolve(edits) }, containerHost: { resolveHostPaths } },
      ["v.com/a=b"],
      signal,
    ),
  };
}

test("edits of several devices are merged in order; the last intelRdt counts", async () => {
  const edits = await find(
    { env: ["A=1"], intelRdt: { closID: "a" }, deviceNodes: [{ path: "/dev/null" }] },
    { env: ["B=2"], additionalGids: [5] },
    { intelRdt: { closID: "b" } },
  ).found;
  assert.deepEqual([edits.env, edits.additionalGids, edits.intelRdt], [["A=1", "B=2"], [5], { closID: "b" }]);
  assert.deepEqual(
    edits.deviceNodes.map(({ major, minor }) => [major, minor]),
    [[1, 3]],
  );
});

test("each mount's source is looked up once, and the error for a missing one names it", async () => {
  const mount = (hostPath: string) => ({ hostPath, containerPath: "/x" });
  const { asked, found } = find({ mounts: [mount("/lib/x"), mount("tmpfs")] }, { mounts: [mount("/lib/x")] });
  assert.equal((await found).mounts.length, 3);
  assert.deepEqual(asked, ["/lib/x"]);
  await assert.rejects(find({ mounts: [mount("/no/lib")] }).found, {
    code: Code.FailedPrecondition,
    message: /CDI mount source \/no\/lib: .*ENOENT/,
  });
});

test("without devices nothing is looked up", async () => {
  const { asked, found } = find();
  assert.deepEqual([(await found).mounts, asked], [[], []]);
});
