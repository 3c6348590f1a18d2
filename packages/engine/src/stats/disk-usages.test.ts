import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { DiskUsages } from "./disk-usages.ts";

const same: (id: string) => Promise<{ bytes: number; inodes: number }> = () =>
  Promise.resolve({ bytes: 4096, inodes: 2 });

function newUsages(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const node = { nowMs: 0, counts: [] as string[], atOnce: 0, most: 0, measure: same };
  const usages = new DiskUsages({
    nowMs: () => node.nowMs,
    nowNs: () => BigInt(node.nowMs) * 1_000_000n,
    async measure(id) {
      node.counts.push(id);
      node.most = Math.max(node.most, (node.atOnce += 1));
      try {
        return await node.measure(id);
      } finally {
        node.atOnce -= 1;
      }
    },
  });
  return { node, usages };
}

const quiet = () => new Promise((resolve) => setImmediate(resolve));

test("the first measurement is waited for; later answers come from memory until it is ten seconds old", async (t) => {
  const { node, usages } = newUsages(t);
  assert.deepEqual((await usages.of(["a"])).get("a"), { bytes: 4096, inodes: 2, atNs: 0n });
  node.measure = () => Promise.resolve({ bytes: 8192, inodes: 3 });
  node.nowMs = 9999;
  assert.equal((await usages.of(["a"])).get("a")?.bytes, 4096);
  node.nowMs = 10_000;
  assert.equal((await usages.of(["a"])).get("a")?.bytes, 4096, "the old count, while it is counted again");
  await quiet();
  assert.deepEqual((await usages.of(["a"])).get("a"), { bytes: 8192, inodes: 3, atNs: 10_000_000_000n });
  assert.deepEqual(node.counts, ["a", "a"]);
});

test("a first measurement that takes long is not waited for", async (t) => {
  const { node, usages } = newUsages(t);
  const { promise, resolve } = Promise.withResolvers<{ bytes: number; inodes: number }>();
  node.measure = () => promise;
  const answer = usages.of(["a"]);
  await quiet();
  t.mock.timers.tick(250);
  assert.equal((await answer).size, 0);
  resolve({ bytes: 1, inodes: 1 });
  await quiet();
  assert.equal((await usages.of(["a"])).get("a")?.bytes, 1);
  assert.equal(node.counts.length, 1);
});

test("what is expensive to measure is measured less often", async (t) => {
  const { node, usages } = newUsages(t);
  node.measure = () => ((node.nowMs += 2000), Promise.resolve({ bytes: 1, inodes: 1 }));
  await usages.of(["a"]);
  node.nowMs = 2000 + 59_999;
  await usages.of(["a"]);
  assert.equal(node.counts.length, 1);
  node.nowMs = 2000 + 60_000;
  await usages.of(["a"]);
  await quiet();
  assert.equal(node.counts.length, 2);
});

test("only one is measured at a time; one that fails is left out, and the others are not", async (t) => {
  const { node, usages } = newUsages(t);
  node.measure = (id) => (id === "b" ? Promise.reject(new Error("gone")) : Promise.resolve({ bytes: 1, inodes: 1 }));
  assert.deepEqual([...(await usages.of(["a", "b", "c"])).keys()], ["a", "c"]);
  assert.equal(node.most, 1);
});

test("those that are gone are forgotten, even while they wait to be measured", async (t) => {
  const { node, usages } = newUsages(t);
  const { promise, resolve } = Promise.withResolvers<{ bytes: number; inodes: number }>();
  node.measure = () => promise;
  const answer = usages.of(["a", "b"]);
  await quiet();
  usages.keepOnly(new Set(["a"]));
  resolve({ bytes: 1, inodes: 1 });
  assert.deepEqual([...(await answer).keys()], ["a"]);
  assert.deepEqual(node.counts, ["a"]);
});
