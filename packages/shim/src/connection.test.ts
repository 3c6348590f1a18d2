import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code, codeOf } from "@keelson/base/status.ts";
import { TtrpcServer } from "@keelson/ttrpc/server.ts";
import { connectShim } from "./connection.ts";

function socketPath(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-shim-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return join(dir, "s");
}

async function listen(path: string): Promise<{ listener: Server; server: TtrpcServer }> {
  const server = new TtrpcServer({
    "containerd.task.v2.Task": { Shutdown: { form: "unary", handle: async () => Buffer.alloc(0) } },
  });
  const listener = createServer((socket) => void server.accept(socket)).listen(path);
  await once(listener, "listening");
  return { listener, server };
}

const never = new AbortController().signal;

test("the connection waits for a shim that does not listen yet", async (t) => {
  const path = socketPath(t);
  const connecting = connectShim(
    { version: 2, address: `unix://${path}` },
    { namespace: "n", patienceMs: 60_000 },
    never,
  );
  await new Promise(setImmediate);
  const { listener } = await listen(path);
  t.after(() => listener.close());
  using shim = await connecting;
  await shim.task.call("Shutdown", { id: "c1" }, { timeoutMs: 5000, signal: never });
});

test("it waits as long as it is told to, and no longer than its caller", async (t) => {
  const bootstrap = { version: 2, address: `unix://${socketPath(t)}` } as const;
  await assert.rejects(
    connectShim(bootstrap, { namespace: "n", patienceMs: 0 }, never),
    (e: unknown) => codeOf(e) === Code.Unavailable,
  );
  await assert.rejects(
    connectShim(bootstrap, { namespace: "n", patienceMs: 60_000 }, AbortSignal.timeout(20)),
    (e: unknown) => ["TimeoutError", "AbortError"].includes((e as Error).name),
  );
});

test("a lost connection says so, and its calls fail", async (t) => {
  const path = socketPath(t);
  const { listener, server } = await listen(path);
  t.after(() => listener.close());
  using shim = await connectShim({ version: 2, address: `unix://${path}` }, { namespace: "n", patienceMs: 0 }, never);
  await server.close(0);
  assert.equal((await shim.closed)?.code, Code.Unavailable);
  await assert.rejects(
    shim.task.call("Shutdown", { id: "c1" }, { timeoutMs: 5000, signal: never }),
    (e: unknown) => codeOf(e) === Code.Unavailable,
  );
});
