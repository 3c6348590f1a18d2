import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type Client, clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";

function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  return { node, client: clientOf(node) };
}

/**
 * Lets `call` hang at `effect` until its client's deadline is over; gives the error's message. Then the retry must join
 * it: it ends with what hung, and no effect is begun twice.
 */
async function deadlineAt(
  t: TestContext,
  node: FakeNode,
  effect: string,
  call: (client: Client) => Promise<unknown>,
): Promise<string> {
  node.fate = (name) => (name === effect ? "hangs" : "works");
  const deadline = new AbortController();
  const first = call(clientOf(node, deadline.signal));
  await node.quiet();
  deadline.abort(new DOMException("late", "TimeoutError"));
  const error = await first.then(
    () => assert.fail(`did not hang at ${effect}`),
    (e: unknown) => e,
  );
  node.effects.length = 0;
  const retry = call(clientOf(node));
  await node.quiet();
  assert.deepEqual(node.effects, [], "the retry must join");
  node.fate = () => "works";
  node.release();
  await passTime(t.mock.timers, retry);
  assert.ok(error instanceof StatusError && error.code === Code.DeadlineExceeded);
  return error.message;
}

async function runPodWithContainer(client: Client): Promise<{ podId: string; id: string }> {
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  return { podId, id };
}

const hangs: [string, string, (client: Client, podId: string, id: string) => Promise<unknown>, RegExp][] = [
  [
    "StopContainer",
    "container-host kill",
    (client, _, id) => client.stopContainer(id, 0n),
    /during: kill container 0+2/,
  ],
  [
    "StopPodSandbox while a container ends",
    "container-host kill",
    (client, podId) => client.stopPod(podId),
    /during: end its containers 0+2/,
  ],
  [
    "StopPodSandbox at the network",
    "network detach",
    (client, podId) => client.stopPod(podId),
    /during: detach the network/,
  ],
  [
    "StopPodSandbox at the host",
    "pod-host destroy",
    (client, podId) => client.stopPod(podId),
    /during: take down its namespaces/,
  ],
  [
    "RemovePodSandbox",
    "container-host destroy",
    (client, podId) => client.removePod(podId),
    /during: remove its containers/,
  ],
  [
    "RemoveContainer",
    "container-host destroy",
    (client, _, id) => client.removeContainer(id),
    /during: take down its mounts/,
  ],
];

for (const [name, effect, call, stage] of hangs) {
  test(`${name}: the deadline's error names the stage and for how long, and the retry joins`, async (t) => {
    const { node, client } = newNode(t);
    const { podId, id } = await runPodWithContainer(client);
    const message = await deadlineAt(t, node, effect, (client) => call(client, podId, id));
    assert.match(message, stage);
    assert.match(message, /\(running for \d+\.\d s\)$/);
    await passTime(t.mock.timers, client.removePod(podId));
    assert.deepEqual(node.left(), []);
  });
}
