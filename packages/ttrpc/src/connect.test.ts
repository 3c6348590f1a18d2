import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { connectTtrpc } from "./connect.ts";
import { TtrpcServer } from "./server.ts";

const isA = (code: Code, text: RegExp) => (error: unknown) =>
  error instanceof StatusError && error.code === code && text.test(error.message);

test("it connects to a path and to an abstract socket", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-ttrpc-"));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const [path, address] of [
    [join(dir, "s"), `unix://${join(dir, "s")}`],
    [`\0keelson-ttrpc-${process.pid}`, `unix://@keelson-ttrpc-${process.pid}`],
    [`\0/keelson/ttrpc-${process.pid}\0`, `unix://@/keelson/ttrpc-${process.pid}`],
  ] as const) {
    const server = new TtrpcServer({
      Test: { Echo: { form: "unary", handle: (request) => Promise.resolve(request) } },
    });
    const listener = createServer((socket) => void server.accept(socket)).listen(path);
    await once(listener, "listening");
    using client = await connectTtrpc(address, {}, AbortSignal.timeout(5000));
    const large = Buffer.alloc(4_000_000, "x");
    const answers = await Promise.all([1, 2, 3].map(() => client.call("Test", "Echo", large)));
    assert.ok(answers.every((answer) => answer.equals(large)));
    client.close();
    assert.equal(await client.closed, undefined);
    await server.close(1000);
    listener.close();
  }
});

test("an address where nobody listens is Unavailable; one of another kind, InvalidArgument", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-ttrpc-"));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "file"), "");
  await assert.rejects(
    connectTtrpc(`unix://${dir}/none`),
    isA(Code.Unavailable, /connect to unix:\/\/.*\/none: .*ENOENT/),
  );
  await assert.rejects(connectTtrpc(`unix://${dir}/file`), isA(Code.Unavailable, /ECONNREFUSED/));
  for (const name of ["/nobody", "x".repeat(107)])
    await assert.rejects(connectTtrpc(`unix://@${name}`), isA(Code.Unavailable, /^connect to [^\0]*ECONNREFUSED$/));
  await assert.rejects(
    connectTtrpc(`unix://${dir}/${"x".repeat(108 - dir.length)}`),
    isA(Code.InvalidArgument, /109 bytes; 107 are the most/),
  );
  for (const address of ["", "unix://", "unix://relative", "tcp://127.0.0.1:1", "/path", "unix:///a\0b"])
    await assert.rejects(connectTtrpc(address), isA(Code.InvalidArgument, /connect to/), address);
  const abort = AbortSignal.abort(new Error("gone"));
  await assert.rejects(connectTtrpc(`unix://${dir}/file`, {}, abort), /gone/);
});
