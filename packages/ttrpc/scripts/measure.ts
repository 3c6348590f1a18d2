/** Measures calls per second and latency of client and server in one process, over a unix socket. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TtrpcClient } from "../src/client.ts";
import { connectTtrpc } from "../src/connect.ts";
import { TtrpcServer } from "../src/server.ts";

const secondsEach = 3;

const dir = mkdtempSync(join(tmpdir(), "keelson-ttrpc-"));
try {
  const server = new TtrpcServer({ Test: { Echo: { form: "unary", handle: (request) => Promise.resolve(request) } } });
  const listener = createServer((socket) => void server.accept(socket)).listen(join(dir, "s"));
  await once(listener, "listening");
  using client = await connectTtrpc(`unix://${dir}/s`);
  await calls(client, 1, 100, 1);
  for (const [callers, payloadBytes] of [
    [1, 100],
    [16, 100],
    [64, 100],
    [4, 1024 * 1024],
  ] as const)
    await measure(client, callers, payloadBytes, secondsEach);
  client.close();
  await server.close(1000);
  listener.close();
} finally {
  rmSync(dir, { recursive: true });
}

async function measure(client: TtrpcClient, callers: number, payloadBytes: number, seconds: number): Promise<void> {
  const latenciesMs = (await calls(client, callers, payloadBytes, seconds)).sort((a, b) => a - b);
  const at = (part: number) => latenciesMs[Math.floor(latenciesMs.length * part)]!.toFixed(3);
  console.log(
    `${callers} at once, ${payloadBytes} bytes each way: ${Math.round(latenciesMs.length / seconds)} calls/s, latency ${at(0.5)} ms (99 %: ${at(0.99)} ms)`,
  );
}

/** How long each call took, in ms. */
async function calls(client: TtrpcClient, callers: number, payloadBytes: number, seconds: number): Promise<number[]> {
  const payload = Buffer.alloc(payloadBytes, "x");
  const latenciesMs: number[] = [];
  const endMs = performance.now() + seconds * 1000;
  const caller = async () => {
    for (let nowMs = performance.now(); nowMs < endMs;) {
      await client.call("Test", "Echo", payload, { timeoutMs: 10_000 });
      const doneMs = performance.now();
      latenciesMs.push(doneMs - nowMs);
      nowMs = doneMs;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return latenciesMs;
}
