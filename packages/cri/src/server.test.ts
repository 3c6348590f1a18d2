import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Client, credentials } from "@grpc/grpc-js";
import { Code, StatusError } from "@keelson/base/status.ts";
import { createCriClient } from "./client.ts";
import { PodSandbox } from "./gen/runtime/v1/api.ts";
import type { Handlers } from "./handlers.ts";
import { createCriServer } from "./server.ts";
import { callNames } from "./service.ts";

const never = new AbortController().signal;

async function serve(t: TestContext, handlers: Handlers, limit?: number) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-cri-"));
  const ended: { name: string; code: number }[] = [];
  const server = createCriServer(handlers, { ended: ({ name, code }) => ended.push({ name, code }) }, limit);
  const address = `unix://${dir}/cri.sock`;
  await server.listen(address);
  const client = createCriClient(address);
  t.after(async () => {
    client.close();
    await server.close(1000);
    rmSync(dir, { recursive: true });
  });
  return { client, ended, address };
}

test("the CRI has 41 calls", () => assert.equal(callNames.length, 41));

test("a call reaches its handler and its answer comes back", async (t) => {
  const { client, ended } = await serve(t, {
    version: (request) =>
      Promise.resolve({
        version: request.version,
        runtimeName: "keelson",
        runtimeVersion: "1",
        runtimeApiVersion: "v1",
      }),
  });
  assert.equal((await client.call("version", { version: "0.1.0" }, never)).runtimeName, "keelson");
  assert.deepEqual(ended, [{ name: "version", code: Code.Ok }]);
});

test("the signal of an answered call does not abort when its stream closes", async (t) => {
  const signals: AbortSignal[] = [];
  const { client } = await serve(t, {
    version: (request, signal) => {
      signals.push(signal);
      return Promise.resolve({
        version: request.version,
        runtimeName: "keelson",
        runtimeVersion: "1",
        runtimeApiVersion: "v1",
      });
    },
  });
  for (let calls = 0; calls < 5; calls++) await client.call("version", { version: "" }, never);
  assert.deepEqual(
    signals.slice(0, -1).map(({ aborted }) => aborted),
    [false, false, false, false],
  );
});

test("a call without a handler answers Unimplemented with its name", async (t) => {
  const { client } = await serve(t, {});
  await assert.rejects(
    client.call("checkpointContainer", { containerId: "x", location: "", timeout: 0n }, never),
    (e: StatusError) => {
      assert.equal(e.code, Code.Unimplemented);
      assert.match(e.message, /CheckpointContainer/);
      return true;
    },
  );
});

test("a StatusError keeps its code and text on the way to the client; a long text is shortened", async (t) => {
  const { client } = await serve(t, {
    stopContainer: () => Promise.reject(new StatusError(Code.NotFound, "container x: there is none — wirklich")),
    startContainer: () => Promise.reject(new Error("y".repeat(100_000))),
  });
  await assert.rejects(client.call("stopContainer", { containerId: "x", timeout: 0n }, never), (e: StatusError) => {
    assert.deepEqual([e.code, e.message], [Code.NotFound, "container x: there is none — wirklich"]);
    return true;
  });
  await assert.rejects(
    client.call("startContainer", { containerId: "x" }, never),
    (e: StatusError) => e.code === Code.Internal && e.message.length < 4100,
  );
});

test("calls over the limit are refused before they begin, and there is room again when one ends", async (t) => {
  const { promise, resolve } = Promise.withResolvers<{}>();
  const bothBegun = Promise.withResolvers<void>();
  let begun = 0;
  const stopContainer = () => {
    begun += 1;
    if (begun === 2) bothBegun.resolve();
    return promise;
  };
  const { client, ended } = await serve(t, { stopContainer }, 2);
  const stop = () => client.call("stopContainer", { containerId: "x", timeout: 0n }, never);
  const stops = [stop(), stop()];
  await bothBegun.promise;
  await assert.rejects(
    stop(),
    (e: StatusError) => e.code === Code.ResourceExhausted && /2 calls are under way/.test(e.message),
  );
  assert.deepEqual(ended, [{ name: "stopContainer", code: Code.ResourceExhausted }]);
  resolve({});
  await Promise.all(stops);
  await stop();
  assert.equal(begun, 3);
});

test("the handler's signal aborts when the client goes away", async (t) => {
  const aborted = Promise.withResolvers<unknown>();
  const started = Promise.withResolvers<void>();
  const { client } = await serve(t, {
    removeContainer: (_request, signal) => {
      started.resolve();
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          aborted.resolve(signal.reason);
          reject(signal.reason as Error);
        });
      });
    },
  });
  const abort = new AbortController();
  const call = client.call("removeContainer", { containerId: "x" }, abort.signal);
  await started.promise;
  abort.abort();
  await assert.rejects(call, (e: StatusError) => e.code === Code.Cancelled);
  assert.equal(((await aborted.promise) as Error).name, "AbortError");
});

for (const jumpMs of [3_600_000, -3_600_000]) {
  test(`a clock that jumps by ${jumpMs} ms during a call does not turn a cancellation into a deadline, or a deadline into a cancellation`, async (t) => {
    const started = { removeContainer: Promise.withResolvers<void>(), stopContainer: Promise.withResolvers<void>() };
    const untilAborted = (name: keyof typeof started) => (_: unknown, signal: AbortSignal) => {
      started[name].resolve();
      return new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    };
    const { client, ended, address } = await serve(t, {
      removeContainer: untilAborted("removeContainer"),
      stopContainer: untilAborted("stopContainer"),
    });
    const abort = new AbortController();
    const cancelled = client.call("removeContainer", { containerId: "x" }, abort.signal);
    // A kubelet sends its deadline; our client does not.
    using late = callWithDeadline(address, 1000);
    await Promise.all([started.removeContainer.promise, started.stopContainer.promise]);
    const now = Date.now();
    t.mock.method(Date, "now", () => now + jumpMs);
    abort.abort();
    await assert.rejects(cancelled);
    await late.ended;
    while (ended.length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(ended, [
      { name: "removeContainer", code: Code.Cancelled },
      { name: "stopContainer", code: Code.DeadlineExceeded },
    ]);
  });
}

function callWithDeadline(address: string, timeoutMs: number): Disposable & { ended: Promise<unknown> } {
  const raw = new Client(address, credentials.createInsecure());
  const ended = new Promise((resolve) => {
    raw.makeUnaryRequest(
      "/runtime.v1.RuntimeService/StopContainer",
      () => Buffer.alloc(0),
      (bytes) => bytes,
      null,
      { deadline: Date.now() + timeoutMs },
      resolve,
    );
  });
  return { ended, [Symbol.dispose]: () => raw.close() };
}

test("a streaming call sends every message and ends", async (t) => {
  const pod = PodSandbox.fromPartial({ id: "a".repeat(64), labels: { x: "y".repeat(1000) } });
  const { client } = await serve(t, {
    streamPodSandboxes: async (_request, write) => {
      for (let i = 0; i < 200; i += 1) await write({ podSandboxes: [pod] });
    },
  });
  let count = 0;
  for await (const message of client.stream("streamPodSandboxes", { filter: undefined }, never))
    count += message.podSandboxes.length;
  assert.equal(count, 200);
});

test("a streaming handler's error reaches the client after the messages before it", async (t) => {
  const { client } = await serve(t, {
    streamImages: async (_request, write) => {
      await write({ images: [] });
      throw new StatusError(Code.Unavailable, "shutting down");
    },
  });
  await assert.rejects(
    async () => {
      for await (const _ of client.stream("streamImages", { filter: undefined }, never));
    },
    (e: StatusError) => e.code === Code.Unavailable,
  );
});

test("a stream that is never read stops its handler's writing, delays no other call and ends when its client goes", async (t) => {
  let written = 0;
  const ended = Promise.withResolvers<unknown>();
  const { client } = await serve(t, {
    version: (request) =>
      Promise.resolve({ version: request.version, runtimeName: "", runtimeVersion: "", runtimeApiVersion: "" }),
    streamPodSandboxes: async (_, write) => {
      try {
        for (;;) {
          await write({ podSandboxes: [PodSandbox.fromPartial({ id: "x".repeat(100_000) })] });
          written += 100_000;
        }
      } catch (error) {
        ended.resolve(error);
        throw error;
      }
    },
  });
  const abort = new AbortController();
  const stream = client.stream("streamPodSandboxes", { filter: undefined }, abort.signal)[Symbol.asyncIterator]();
  await stream.next();
  let before = -1;
  // While another call is answered a thousand times, gigabytes could be written.
  while (before !== written) {
    before = written;
    for (let i = 0; i < 200; i++) await client.call("version", { version: "v1" }, never);
  }
  assert.ok(written < 50_000_000, `${written} bytes were taken without a reader`);
  abort.abort();
  assert.equal(((await ended.promise) as Error).name, "AbortError");
});
