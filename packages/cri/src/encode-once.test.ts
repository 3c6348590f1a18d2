import assert from "node:assert/strict";
import { test } from "node:test";
import { listSerializerOf } from "./encode-once.ts";
import { Container, PodSandbox } from "./gen/runtime/v1/api.ts";
import { methodOf } from "./grpc-methods.ts";
import { callNames } from "./service.ts";

const containers = [
  Container.fromPartial({
    id: "a",
    metadata: { name: "main", attempt: 1 },
    createdAt: 1_800_000_000_000_000_000n,
    labels: { app: "web", "": "" },
  }),
  Container.fromPartial({}),
  // Their lengths take two bytes, and three.
  Container.fromPartial({ id: "b".repeat(64), annotations: { note: "ä".repeat(200) } }),
  Container.fromPartial({ id: "c", annotations: { note: "x".repeat(70_000) } }),
];
const pods = [
  PodSandbox.fromPartial({ id: "p", metadata: { name: "pod" }, runtimeHandler: "crun" }),
  PodSandbox.fromPartial({ annotations: { note: "y".repeat(20_000) } }),
];

const answers = {
  listContainers: { containers },
  streamContainers: { containers },
  listPodSandbox: { items: pods },
  streamPodSandboxes: { podSandboxes: pods },
} as const;

for (const [name, response] of Object.entries(answers)) {
  test(`${name} is encoded as by the generated code, the first time and again`, () => {
    const ours = listSerializerOf(name)!;
    const expected = methodOf(name as keyof typeof answers).responseSerialize(response);
    assert.deepEqual(ours(response), Buffer.from(expected));
    assert.deepEqual(ours(response), Buffer.from(expected));
    const none = Object.fromEntries(Object.keys(response).map((key) => [key, []]));
    assert.equal(ours(none).length, 0);
  });
}

test("other calls have no encoding of their own", () => {
  assert.deepEqual(
    callNames.filter((name) => listSerializerOf(name) !== undefined).sort(),
    Object.keys(answers).sort(),
  );
  assert.equal(listSerializerOf("toString"), undefined);
});

test("an item is encoded once", () => {
  let reads = 0;
  const item = Container.fromPartial({ id: "x" });
  Object.defineProperty(item, "imageRef", { get: () => (reads++, "sha256:1") });
  const serialize = listSerializerOf("listContainers")!;
  const first = serialize({ containers: [item] });
  const before = reads;
  assert.deepEqual(serialize({ containers: [item] }), first);
  assert.ok(before > 0 && reads === before);
});
