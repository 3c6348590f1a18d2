import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime } from "../testing/pass-time.ts";
import { createHandlers } from "./handlers.ts";

const never = new AbortController().signal;

async function newNode(t: TestContext, pods: number) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  for (let i = 0; i < pods; i += 1) {
    const podId = await client.runPod({ metadata: { name: `p${i}`, namespace: "default", uid: String(i) } });
    await client.startContainer(await client.createContainer(podId));
  }
  return { node, calls: createHandlers(node.deps) };
}

test("each item comes once, in messages of a hundred at most, none of them empty", async (t) => {
  const { calls } = await newNode(t, 205);
  const sizes = async (stream: (write: (message: object) => Promise<void>) => Promise<void>) => {
    const messages: number[] = [];
    const ids = new Set<string>();
    await stream(async (message) => {
      const [items] = Object.values(message) as { id?: string; podSandboxId?: string; attributes?: { id: string } }[][];
      messages.push(items!.length);
      for (const item of items!) ids.add(item.attributes?.id ?? item.id ?? item.podSandboxId!);
    });
    assert.equal(ids.size, 205);
    return messages;
  };
  const filter = undefined;
  const streams = [
    (write: (message: object) => Promise<void>) => calls.streamPodSandboxes({ filter }, write, never),
    (write: (message: object) => Promise<void>) => calls.streamContainers({ filter }, write, never),
    (write: (message: object) => Promise<void>) => calls.streamContainerStats({ filter }, write, never),
    (write: (message: object) => Promise<void>) => calls.streamPodSandboxStats({ filter }, write, never),
    (write: (message: object) => Promise<void>) => calls.streamPodSandboxMetrics({}, write, never),
  ];
  for (const stream of streams) assert.deepEqual(await sizes(stream), [100, 100, 5]);
});

test("of nothing there is no message", async (t) => {
  const { calls } = await newNode(t, 0);
  const unwanted = () => assert.fail("an empty message");
  await calls.streamPodSandboxes({ filter: undefined }, unwanted, never);
  await calls.streamImages(
    { filter: { image: { image: "none", annotations: {}, userSpecifiedImage: "", runtimeHandler: "", imageRef: "" } } },
    unwanted,
    never,
  );
});

test("the next message waits until the client has room", async (t) => {
  const { node, calls } = await newNode(t, 101);
  const room = Promise.withResolvers<void>();
  let messages = 0;
  const done = calls.streamContainers({ filter: undefined }, () => ((messages += 1), room.promise), never);
  await node.quiet();
  assert.equal(messages, 1);
  room.resolve();
  await done;
  assert.equal(messages, 2);
});
