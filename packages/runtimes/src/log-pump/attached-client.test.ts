import assert from "node:assert/strict";
import { test } from "node:test";
import { SeqpacketSocket, seqpacketPair } from "@keelson/linux/seqpacket.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { AttachedClient } from "./attached-client.ts";

function attached() {
  const { a, b } = seqpacketPair();
  const seen = { drained: 0, closed: 0 };
  const client = new AttachedClient(b, {
    drained: () => (seen.drained += 1),
    input: () => true,
    inputEnded: () => {},
    closed: () => (seen.closed += 1),
  });
  return { client, peer: new SeqpacketSocket(a, 8193), seen };
}

const lots = Buffer.alloc(1024 * 1024, "x");

test("a client that takes nothing for too long is cut off", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, peer, seen } = attached();
  t.after(() => peer.destroy());
  client.send("stdout", lots);
  assert.equal(client.isBlocked, true);
  t.mock.timers.tick(5000);
  t.mock.timers.reset();
  await waitFor(() => seen.closed === 1);
  assert.equal(client.isBlocked, false);
});

test("a client that was slow once is cut off too when it does not close at the end", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, peer, seen } = attached();
  t.after(() => peer.destroy());
  client.send("stdout", lots);
  peer.resume();
  while (seen.drained === 0) await new Promise(setImmediate);
  client.end();
  t.mock.timers.tick(5000);
  t.mock.timers.reset();
  await waitFor(() => seen.closed === 1);
});
