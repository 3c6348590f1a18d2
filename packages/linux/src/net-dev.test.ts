import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNetDev } from "./net-dev.ts";

const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1984852168   46452    1    2    0     0          0         0  3066326   29984    3    4    0     0       0          0
eth1.5:       1       2    3    4    0     0          0         0        5       6    7    8    0     0       0          0
`;

test("all interfaces are read but the loopback", () => {
  assert.deepEqual(parseNetDev(text), [
    {
      name: "eth0",
      rxBytes: 1984852168n,
      rxPackets: 46452n,
      rxErrors: 1n,
      rxDropped: 2n,
      txBytes: 3066326n,
      txPackets: 29984n,
      txErrors: 3n,
      txDropped: 4n,
    },
    {
      name: "eth1.5",
      rxBytes: 1n,
      rxPackets: 2n,
      rxErrors: 3n,
      rxDropped: 4n,
      txBytes: 5n,
      txPackets: 6n,
      txErrors: 7n,
      txDropped: 8n,
    },
  ]);
});

test("truncated lines and those without numbers are left out", () => {
  assert.deepEqual(parseNetDev("eth0: 1 2 3"), []);
  assert.deepEqual(parseNetDev("eth0: a b c\n: 1\n"), []);
});
