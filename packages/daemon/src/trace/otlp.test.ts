import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import type { OperationRecord } from "@keelson/engine/operations.ts";
import { OtlpExporter, type OtlpOptions, spansOf } from "./otlp.ts";

const operation: OperationRecord = {
  call: "RunPodSandbox",
  name: "web-1",
  podUid: "u1",
  startedAtNs: 1_000_000_000n,
  durationMs: 50,
  code: "Unavailable",
  error: "the agent is starting",
  stages: [
    {
      name: "attach the network",
      startMs: 5,
      endMs: 50,
      details: [{ name: "plugin bridge: ADD", startMs: 6.5, endMs: 49 }],
    },
  ],
};

function newExporter(t: TestContext, over: Partial<OtlpOptions> = {}) {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const bodies: string[] = [];
  const warned: string[] = [];
  let dropped = 0;
  const exporter = new OtlpExporter({
    endpoint: "http://127.0.0.1:4318/",
    version: "1",
    log: { ...silentLog, warn: (_: object, text: string) => void warned.push(text) },
    onDropped: (count) => void (dropped += count),
    post: (_url, body) => (bodies.push(body), Promise.resolve(200)),
    ...over,
  });
  t.after(() => exporter[Symbol.asyncDispose]());
  return { exporter, bodies, warned, dropped: () => dropped };
}

test("an operation is a span in the client's trace, with its stages and their details below", () => {
  const [root, stage, detail, ...others] = spansOf(
    operation,
    "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01",
  );
  assert.equal(others.length, 0);
  assert.deepEqual(
    [root?.name, root?.parentSpanId, root?.startTimeUnixNano, root?.endTimeUnixNano],
    ["RunPodSandbox", "00f067aa0ba902b7", "1000000000", "1050000000"],
  );
  assert.deepEqual(root?.status, { code: 2, message: "the agent is starting" });
  assert.deepEqual([stage?.parentSpanId, detail?.parentSpanId], [root?.spanId, stage?.spanId]);
  assert.deepEqual([detail?.startTimeUnixNano, detail?.endTimeUnixNano], ["1006500000", "1049000000"]);
  assert.deepEqual(
    new Set([root, stage, detail].map((s) => s?.traceId)),
    new Set(["0123456789abcdef0123456789abcdef"]),
  );
});

test("without a client's trace, all operations of a pod are one trace", () => {
  const trace = (podUid: string) => spansOf({ ...operation, podUid }, undefined)[0]!;
  assert.equal(trace("u1").traceId, trace("u1").traceId);
  assert.notEqual(trace("u1").traceId, trace("u2").traceId);
  assert.equal(trace("u1").parentSpanId, undefined);
});

test("spans are sent to /v1/traces every five seconds and on closing", async (t) => {
  const { exporter, bodies } = newExporter(t);
  exporter.add(operation, undefined);
  assert.equal(bodies.length, 0);
  t.mock.timers.tick(5000);
  await exporter.flush();
  const [{ resourceSpans }] = bodies.map(
    (body) => JSON.parse(body) as { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] },
  ) as [{ resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] }];
  assert.equal(resourceSpans[0]!.scopeSpans[0]!.spans.length, 3);
  exporter.add(operation, undefined);
  await exporter[Symbol.asyncDispose]();
  assert.equal(bodies.length, 2);
});

test("a collector that is down causes one warning, and costs spans, not memory", async (t) => {
  const { exporter, warned, dropped } = newExporter(t, { post: () => Promise.resolve(503) });
  for (let i = 0; i < 3; i += 1) {
    exporter.add(operation, undefined);
    await exporter.flush();
  }
  assert.deepEqual(warned.length, 1);
  assert.match(warned[0]!, /HTTP 503; start it, or correct tracing\.endpoint/);
  assert.equal(dropped(), 9);
});

test("a collector that hangs leaves a limited number of spans waiting", (t) => {
  const { exporter, dropped } = newExporter(t, { post: () => new Promise(() => undefined) });
  t.mock.method(exporter, Symbol.asyncDispose as never, () => Promise.resolve() as never);
  for (let i = 0; i < 3000; i += 1) exporter.add(operation, undefined);
  assert.ok(dropped() >= 9000 - 4096 - 512 - 3 && dropped() < 9000, String(dropped()));
});

test("a real collector gets JSON", async (t) => {
  const got = Promise.withResolvers<{ url: string | undefined; type: string | undefined; body: string }>();
  const server = createServer((req, res) => {
    let body = "";
    req.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    req.on("end", () => {
      res.end("{}");
      got.resolve({ url: req.url, type: req.headers["content-type"], body });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const exporter = new OtlpExporter({
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    version: "1",
    log: silentLog,
    onDropped: () => assert.fail("dropped"),
  });
  exporter.add(operation, undefined);
  await exporter[Symbol.asyncDispose]();
  const { url, type, body } = await got.promise;
  assert.deepEqual([url, type], ["/v1/traces", "application/json"]);
  assert.match(body, /"service.name"/);
});
