import assert from "node:assert/strict";
import { test } from "node:test";
import { serveMetrics } from "./server.ts";

test("serves the current text, only at /metrics, to GET and HEAD", async (t) => {
  let text = "a 1\n";
  const server = await serveMetrics({ host: "127.0.0.1", port: 0 }, () => Promise.resolve(text));
  t.after(() => server[Symbol.asyncDispose]());
  const first = await fetch(server.url);
  assert.equal(first.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assert.equal(await first.text(), "a 1\n");
  text = "a 2\n";
  assert.equal(await (await fetch(`${server.url}?x=1`)).text(), "a 2\n");
  assert.equal(await (await fetch(server.url, { method: "HEAD" })).text(), "");
  assert.equal((await fetch(server.url, { method: "POST" })).status, 405);
  assert.equal((await fetch(server.url.replace("/metrics", "/"))).status, 404);
});

test("an address in use is refused", async (t) => {
  const server = await serveMetrics({ host: "127.0.0.1", port: 0 }, () => Promise.resolve(""));
  t.after(() => server[Symbol.asyncDispose]());
  await assert.rejects(
    serveMetrics({ host: "127.0.0.1", port: Number(new URL(server.url).port) }, () => Promise.resolve("")),
    { code: "EADDRINUSE" },
  );
});

test("a client that stays connected does not delay closing", async () => {
  const server = await serveMetrics({ host: "127.0.0.1", port: 0 }, () => Promise.resolve(""));
  await (await fetch(server.url)).text();
  await server[Symbol.asyncDispose]();
  await assert.rejects(fetch(server.url));
});

test("metrics that cannot be read are a server error", async (t) => {
  const server = await serveMetrics({ host: "127.0.0.1", port: 0 }, () => Promise.reject(new Error("no numbers")));
  t.after(() => server[Symbol.asyncDispose]());
  const response = await fetch(server.url);
  assert.deepEqual([response.status, await response.text()], [500, "no numbers\n"]);
});
