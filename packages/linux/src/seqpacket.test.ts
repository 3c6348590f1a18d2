import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { waitFor } from "@keelson/testkit/wait.ts";
import { SeqpacketSocket, seqpacketPair } from "./seqpacket.ts";

function pair(t: TestContext): { ours: SeqpacketSocket; theirs: SeqpacketSocket } {
  const { a, b } = seqpacketPair();
  const ours = new SeqpacketSocket(a, 8192);
  const theirs = new SeqpacketSocket(b, 8192);
  t.after(() => {
    ours.destroy();
    theirs.destroy();
  });
  return { ours, theirs };
}

/** The packets that come until the end; an error fails the test. */
async function packetsOf(socket: SeqpacketSocket): Promise<string[]> {
  const packets: string[] = [];
  socket.on("data", (packet: Buffer) => packets.push(packet.toString()));
  await once(socket, "end");
  return packets;
}

/** Writes packets, and waits until the kernel has them. */
async function write(socket: SeqpacketSocket, packets: readonly string[]): Promise<void> {
  for (const packet of packets) await new Promise((resolve) => socket.write(packet, resolve));
}

const lines = Array.from({ length: 20 }, (_, i) => `line ${i}`);

test("what a peer had sent is read when it closes with packets of ours unread, which the kernel reports as a reset", async (t) => {
  const { ours, theirs } = pair(t);
  await write(ours, ["input that it does not read"]);
  await write(theirs, lines);
  theirs.destroy();
  await once(theirs, "close");
  assert.deepEqual(await packetsOf(ours), lines);
});

test("what a peer had sent is read after a write that it did not take, and later writes are discarded", async (t) => {
  const { ours, theirs } = pair(t);
  await write(theirs, lines);
  theirs.destroy();
  await once(theirs, "close");
  await write(ours, ["nobody reads this", "nor this"]);
  assert.deepEqual(await packetsOf(ours), lines);
  assert.equal(ours.errored, null);
});

test("a writer that waits for room is let go when the peer closes", async (t) => {
  const { ours, theirs } = pair(t);
  const writing = write(
    ours,
    Array.from({ length: 200 }, () => "x".repeat(8000)),
  );
  await waitFor(() => ours.writableLength > 0);
  await write(theirs, lines);
  theirs.destroy();
  assert.deepEqual(await packetsOf(ours), lines);
  await writing;
});

test("it closes by itself when the peer takes no more and all that it had sent is read", async (t) => {
  for (const isReadFirst of [true, false]) {
    const { ours, theirs } = pair(t);
    await write(theirs, lines);
    theirs.destroy();
    await once(theirs, "close");
    const closed = once(ours, "close");
    if (isReadFirst) await packetsOf(ours);
    await write(ours, ["nobody reads this"]);
    if (!isReadFirst) assert.deepEqual(await packetsOf(ours), lines);
    await closed;
    assert.equal(ours.errored, null);
  }
});
