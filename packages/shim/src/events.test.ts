import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import { Code, codeOf } from "@keelson/base/status.ts";
import { TtrpcClient } from "@keelson/ttrpc/client.ts";
import { ShimEvents } from "./events.ts";
import { TaskExit, TaskOOM } from "./gen/containerd/events/task.ts";
import { ForwardRequest } from "./gen/containerd/services/events/ttrpc/v1/events.ts";

function publisher() {
  const events: unknown[] = [];
  const server = new ShimEvents((event, namespace) => events.push([namespace, event]));
  const [ours, theirs] = duplexPair();
  server.accept(theirs);
  const client = new TtrpcClient(ours);
  const forward = (bytes: Uint8Array) =>
    client.call("containerd.services.events.ttrpc.v1.Events", "Forward", bytes, { timeoutMs: 5000 });
  const publish = (topic: string, value: Uint8Array) =>
    forward(
      ForwardRequest.encode(
        ForwardRequest.fromPartial({
          envelope: { namespace: "k8s.io", topic, event: { typeUrl: "t", value: Buffer.from(value) } },
        }),
      ).finish(),
    );
  return { events, forward, publish, [Symbol.asyncDispose]: () => (client.destroy(), server.close(100)) };
}

test("exits and memory shortages are passed on; other events are accepted and ignored", async () => {
  await using p = publisher();
  await p.publish(
    "/tasks/exit",
    TaskExit.encode(TaskExit.fromPartial({ containerId: "c1", id: "e1", exitStatus: 3 })).finish(),
  );
  await p.publish("/tasks/oom", TaskOOM.encode({ containerId: "c1" }).finish());
  await p.publish("/tasks/exec-added", Buffer.from("anything"));
  assert.deepEqual(p.events, [
    ["k8s.io", { type: "exit", containerId: "c1", processId: "e1" }],
    ["k8s.io", { type: "outOfMemory", containerId: "c1" }],
  ]);
});

test("what is no event, or too large, is refused, and the next event is accepted", async () => {
  await using p = publisher();
  await assert.rejects(p.forward(Buffer.from("0aff", "hex")), (e: unknown) => codeOf(e) === Code.InvalidArgument);
  await assert.rejects(p.forward(Buffer.alloc(300 * 1024)), (e: unknown) => codeOf(e) === Code.ResourceExhausted);
  await assert.rejects(
    p.publish("/tasks/exit", Buffer.from("0aff", "hex")),
    (e: unknown) => codeOf(e) === Code.Internal,
  );
  await p.forward(Buffer.alloc(0));
  await p.publish("/tasks/oom", TaskOOM.encode({ containerId: "c2" }).finish());
  assert.deepEqual(p.events, [["k8s.io", { type: "outOfMemory", containerId: "c2" }]]);
});
