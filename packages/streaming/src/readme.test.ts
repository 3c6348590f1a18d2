import assert from "node:assert/strict";
import { once } from "node:events";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import type { StreamingServer } from "./server.ts";

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

test("the README's example forwards a port", async (t) => {
  // Beside the source, where the packages' names are found.
  const dir = mkdtempSync(join(import.meta.dirname, "../.readme-"));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "example.ts"), /```ts\n([^]*?)```/.exec(readme)?.[1] ?? "");
  const example = (await import(join(dir, "example.ts"))) as {
    forwardingUrl: () => Promise<{ url: string; server: StreamingServer }>;
  };
  const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
  await once(echo, "listening");
  t.after(() => echo.close());
  const { url, server } = await example.forwardingUrl();
  t.after(() => server.close(0));
  const { session } = await connectSpdy(url, { protocols: ["portforward.k8s.io"] });
  const headers = { port: String((echo.address() as AddressInfo).port), requestID: "0" };
  const [errors, data] = [
    session.open({ ...headers, streamType: "error" }),
    session.open({ ...headers, streamType: "data" }),
  ];
  errors.end();
  data.end("hello");
  assert.deepEqual(await Promise.all([text(errors), text(data)]), ["", "hello"]);
  session.close();
});

test("the README names every file", () => {
  const files = globSync("*.ts", { cwd: import.meta.dirname }).filter((name) => !name.endsWith(".test.ts"));
  assert.deepEqual(
    files.filter((name) => !readme.includes(`\`${name}\``)),
    [],
  );
});
