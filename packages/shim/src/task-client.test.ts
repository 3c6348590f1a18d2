import assert from "node:assert/strict";
import { once } from "node:events";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import { TtrpcClient } from "@keelson/ttrpc/client.ts";
import { decodeRequest } from "@keelson/ttrpc/request.ts";
import { TtrpcServer } from "@keelson/ttrpc/server.ts";
import { type Services, unary } from "@keelson/ttrpc/service.ts";
import { PlatformRequest, PlatformResponse } from "./gen/containerd/runtime/sandbox/v1/sandbox.ts";
import { StateRequest, StateResponse, Status } from "./gen/containerd/task/v2/task.ts";
import { createSandboxClient } from "./sandbox-client.ts";
import { createTaskClient } from "./task-client.ts";

const limits = { timeoutMs: 5000, signal: new AbortController().signal };

function connected(services: Services): Disposable & { readonly client: TtrpcClient } {
  const [ours, theirs] = duplexPair();
  const server = new TtrpcServer(services);
  server.accept(theirs);
  const client = new TtrpcClient(ours);
  return { client, [Symbol.dispose]: () => client.destroy() };
}

const bytes = (answer: Uint8Array) => ({ form: "unary", handle: async () => answer }) as const;

for (const version of [2, 3] as const) {
  test(`Task v${version} is called by its name, with the namespace`, async () => {
    const State = unary(StateRequest, StateResponse, async ({ id, execId }, { metadata }) => {
      assert.deepEqual(metadata.get("containerd-namespace-ttrpc"), ["k8s.io"]);
      return StateResponse.fromPartial({ id, execId, status: Status.RUNNING, pid: 7 });
    });
    using c = connected({ [`containerd.task.v${version}.Task`]: { State } });
    const task = createTaskClient(c.client, version, "k8s.io");
    const { id, execId, status, pid } = await task.call("State", { id: "c1", execId: "e1" }, limits);
    assert.deepEqual([id, execId, status, pid], ["c1", "e1", Status.RUNNING, 7]);
    const other = createTaskClient(c.client, version === 2 ? 3 : 2, "k8s.io");
    await assert.rejects(other.call("State", { id: "c1" }, limits), (e: unknown) => codeOf(e) === Code.Unimplemented);
  });
}

test("a shim that knows pods answers for its sandbox; for others that is Unimplemented", async () => {
  const Platform = unary(PlatformRequest, PlatformResponse, async () =>
    PlatformResponse.fromPartial({ platform: { os: "linux", architecture: "arm64" } }),
  );
  using c = connected({ "containerd.runtime.sandbox.v1.Sandbox": { Platform } });
  const sandbox = createSandboxClient(c.client, "k8s.io");
  assert.equal((await sandbox.call("Platform", { sandboxId: "p" }, limits)).platform?.architecture, "arm64");
  await assert.rejects(
    sandbox.call("PingSandbox", { sandboxId: "p" }, limits),
    (e: unknown) => codeOf(e) === Code.Unimplemented,
  );
});

test("an answer of another type, or too large, is an error that says so", async () => {
  using c = connected({
    "containerd.task.v2.Task": {
      State: bytes(Buffer.from("0affffffff0f", "hex")),
      Stats: bytes(Buffer.alloc(1024 * 1024 + 1)),
      Wait: bytes(Buffer.alloc(64 * 1024 + 1)),
    },
  });
  const task = createTaskClient(c.client, 2, "k8s.io");
  const wrong = (message: RegExp) => (e: unknown) =>
    e instanceof StatusError && e.code === Code.Internal && message.test(e.message);
  await assert.rejects(
    task.call("State", { id: "c1" }, limits),
    wrong(/Task\/State: the shim's answer cannot be read/),
  );
  await assert.rejects(
    task.call("Stats", { id: "c1" }, limits),
    wrong(/Task\/Stats: the shim answers with 1048577 bytes; 1048576 are the most/),
  );
  await assert.rejects(task.call("Wait", { id: "c1" }, limits), wrong(/Task\/Wait: the shim answers with 65537 bytes/));
});

test("every truncation of an answer is an answer or an error", async () => {
  const whole = StateResponse.encode(
    StateResponse.fromPartial({ id: "c1", bundle: "/b", pid: 300, exitedAt: { seconds: 5n, nanos: 6 }, stdout: "/o" }),
  ).finish();
  let answer: Uint8Array = whole;
  using c = connected({ "containerd.task.v2.Task": { State: { form: "unary", handle: async () => answer } } });
  const task = createTaskClient(c.client, 2, "k8s.io");
  for (let length = 0; length <= whole.length; length += 1) {
    answer = whole.subarray(0, length);
    const result = await task.call("State", { id: "c1" }, limits).then(
      ({ id }) => typeof id,
      (e: unknown) => e,
    );
    assert.ok(
      result === "string" || (result instanceof StatusError && result.code === Code.Internal),
      `${length}: ${String(result)}`,
    );
  }
});

test("a call that hangs ends by its timeout", async () => {
  using c = connected({ "containerd.task.v2.Task": { Wait: { form: "unary", handle: () => new Promise(() => {}) } } });
  await assert.rejects(
    createTaskClient(c.client, 2, "k8s.io").call("Wait", { id: "c1" }, { ...limits, timeoutMs: 20 }),
    (e: unknown) => codeOf(e) === Code.DeadlineExceeded,
  );
});

test("the timeout of a call is ours alone: shims cancel what a call with one has begun", async () => {
  const [ours, theirs] = duplexPair();
  const client = new TtrpcClient(ours);
  const answered = createTaskClient(client, 3, "k8s.io").call("State", { id: "c1" }, limits);
  const [frame] = (await once(theirs, "data")) as [Buffer];
  assert.equal(decodeRequest(frame.subarray(10)).timeoutNs, 0n);
  client.destroy();
  await assert.rejects(answered);
});
