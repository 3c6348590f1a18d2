import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";
import { GuestUsages } from "./guest-usages.ts";

const record = (id: string) => ({ id }) as ContainerRecord;
const usage = (cpuNs: bigint): CgroupUsage => ({ cpu: { usageNs: cpuNs }, hugepages: [] });

/** Runtimes that answer when a test says so. */
function newGuests(t: TestContext) {
  mockTime(t.mock);
  const clock = { ms: 50_000 };
  const asked: { id: string; answer(usage: CgroupUsage | undefined): void; fail(error: Error): void }[] = [];
  const guests = new GuestUsages({
    nowMs: () => clock.ms,
    nowNs: () => BigInt(clock.ms) * 1_000_000n,
    runtimeOf: ({ id }) =>
      id.startsWith("host")
        ? undefined
        : () => new Promise((resolve, reject) => asked.push({ id, answer: resolve, fail: reject })),
  });
  return { clock, asked, guests };
}

test("only runtimes of containers whose cgroup does not show usage are asked", async (t) => {
  const { guests, asked } = newGuests(t);
  assert.deepEqual([guests.has(record("host-1")), guests.has(record("guest-1"))], [false, true]);
  await guests.of([record("host-1")]);
  assert.deepEqual(asked, []);
});

test("the first usage is waited for; later answers have what is known, and refresh it in the background", async (t) => {
  const { guests, asked, clock } = newGuests(t);
  const first = guests.of([record("a")]);
  asked[0]!.answer(usage(1n));
  assert.equal((await first).get("a")?.cgroup.cpu?.usageNs, 1n);
  await turn();
  clock.ms += 999;
  await guests.of([record("a")]);
  assert.equal(asked.length, 1, "asked a moment ago");
  clock.ms += 1;
  const second = (await guests.of([record("a")])).get("a");
  assert.deepEqual([second?.cgroup.cpu?.usageNs, second?.atMs, asked.length], [1n, 50_000, 2]);
  asked[1]!.answer(usage(2n));
  await turn();
  assert.equal((await guests.of([record("a")])).get("a")?.cgroup.cpu?.usageNs, 2n);
});

test("one that hangs delays an answer a moment, is asked once, and has no usage; the others have theirs", async (t) => {
  const { guests, asked } = newGuests(t);
  const both = guests.of([record("hangs"), record("b")]);
  asked[1]!.answer(usage(7n));
  assert.deepEqual([...(await passTime(t.mock.timers, both)).keys()], ["b"]);
  await passTime(t.mock.timers, guests.of([record("hangs")]));
  assert.deepEqual(asked.filter(({ id }) => id === "hangs").length, 1);
});

test("what a runtime said stays known when it fails later", async (t) => {
  const { guests, asked, clock } = newGuests(t);
  const first = guests.of([record("a")]);
  asked[0]!.answer(usage(1n));
  await first;
  await turn();
  clock.ms += 5000;
  await guests.of([record("a")]);
  asked[1]!.fail(new Error("the shim is gone"));
  await turn();
  assert.equal((await guests.of([record("a")])).get("a")?.atNs, 50_000_000_000n);
  guests.keepOnly(new Set());
  const again = guests.of([record("a")]);
  assert.equal((await passTime(t.mock.timers, again)).size, 0, "forgotten");
});

test("at most four runtimes are asked at once", async (t) => {
  const { guests, asked } = newGuests(t);
  const all = guests.of(["a", "b", "c", "d", "e"].map(record));
  assert.equal(asked.length, 4);
  asked[2]!.answer(usage(1n));
  await turn();
  assert.deepEqual(
    asked.map(({ id }) => id),
    ["a", "b", "c", "d", "e"],
  );
  for (const each of asked) each.answer(usage(1n));
  assert.equal((await all).size, 5);
});
