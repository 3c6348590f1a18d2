// Calls Version over and over, and prints how long the slowest call took, in ms, when its stdin ends.
import { setTimeout as delay } from "node:timers/promises";
import { createCriClient } from "@keelson/cri/client.ts";

const client = createCriClient(process.argv[2]!);
let slowestMs = 0;
process.stdin.resume();
while (!process.stdin.readableEnded) {
  const startedMs = performance.now();
  await client.call("version", { version: "v1" }, AbortSignal.timeout(60_000));
  slowestMs = Math.max(slowestMs, performance.now() - startedMs);
  await delay(5);
}
client.close();
process.stdout.write(String(slowestMs));
