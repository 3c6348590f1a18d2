import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import { Inbox, InboxRoom } from "./inbox.ts";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

/** A room with a `stallMs` of 1000, and how often its connection is held up. */
function room() {
  const counts = { holds: 0, givenUp: 0 };
  const hold = () => {
    counts.holds += 1;
    return () => void (counts.holds -= 1);
  };
  const inboxes = new InboxRoom(hold, 1000);
  const inbox = () => new Inbox(inboxes, () => (counts.givenUp += 1));
  return { inboxes, inbox, counts };
}

const texts = async (inbox: Inbox) => (await Array.fromAsync(inbox)).map(String);
const late = (inbox: Inbox) => assert.rejects(texts(inbox), (e: unknown) => codeOf(e) === Code.ResourceExhausted);

test("what came before the end or an error is read first, and the error once", async () => {
  const { inbox } = room();
  const [ended, failed, empty] = [inbox(), inbox(), inbox()];
  for (const each of [ended, failed]) each.push(Buffer.from("a"));
  ended.end();
  ended.push(Buffer.from("late"));
  failed.end(new StatusError(Code.Aborted, "gone"));
  assert.deepEqual(await texts(ended), ["a"]);
  assert.equal(String((await failed.next()).value), "a");
  await assert.rejects(failed.next(), { message: "gone" });
  assert.equal((await failed.next()).done, true);
  const waiting = [empty.next(), empty.next()];
  empty.push(Buffer.from("first"));
  empty.end();
  assert.deepEqual(
    (await Promise.all(waiting)).map(({ done }) => done),
    [false, true],
  );
});

test("too many messages, or too large ones, hold up the connection until they are read", async () => {
  for (const [count, bytes] of [
    [64, 0],
    [2, 512 * 1024],
  ] as const) {
    const { inbox, counts } = room();
    const full = inbox();
    for (let i = 0; i < count - 1; i += 1) full.push(Buffer.alloc(bytes));
    assert.equal(counts.holds, 0);
    full.push(Buffer.alloc(bytes));
    assert.equal(counts.holds, 1);
    mock.timers.tick(999);
    await full.next();
    assert.equal(counts.holds, 0);
    mock.timers.tick(10_000);
    assert.equal(counts.givenUp, 0);
  }
});

test("an inbox that stays full is given up, but no other", async () => {
  const { inbox, counts } = room();
  const [full, other] = [inbox(), inbox()];
  for (let i = 0; i < 100; i += 1) full.push(Buffer.from("x"));
  other.push(Buffer.from("kept"));
  mock.timers.tick(1000);
  assert.deepEqual(counts, { holds: 0, givenUp: 1 });
  await late(full);
  other.end();
  assert.deepEqual(await texts(other), ["kept"]);
});

test("all inboxes together are bounded: the largest are given up, one after the other", async () => {
  const { inbox, counts } = room();
  const many = Array.from({ length: 20 }, inbox);
  for (const [i, each] of many.entries()) each.push(Buffer.alloc(900_000 + i));
  // Its end does not free its unread messages.
  many[19]!.end();
  assert.equal(counts.holds, 1);
  mock.timers.tick(1000);
  assert.equal(counts.holds, 1, "17.1 MB are still more than 16 MiB");
  mock.timers.tick(1000);
  assert.deepEqual(counts, { holds: 0, givenUp: 2 });
  await late(many[19]!);
  await late(many[18]!);
  assert.equal((await many[17]!.next()).value?.length, 900_017);
});

test("a reader that leaves drops the remaining messages and frees their room", async () => {
  const { inbox, counts } = room();
  const left = inbox();
  for (let i = 0; i < 100; i += 1) left.push(Buffer.from("x"));
  for await (const _ of left) break;
  assert.deepEqual(counts, { holds: 0, givenUp: 1 });
  assert.equal(left.heldBytes, 0);
  assert.deepEqual(await texts(left), []);
});

test("after the connection's end no timer runs", () => {
  const { inboxes, inbox, counts } = room();
  const full = inbox();
  for (let i = 0; i < 100; i += 1) full.push(Buffer.from("x"));
  inboxes.close();
  mock.timers.tick(10_000);
  assert.equal(counts.givenUp, 0);
});
