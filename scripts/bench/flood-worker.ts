/**
 * Reads the stdout of execs as fast as it comes, beside the bench's own thread: workerData has their URLs. Says "ready"
 * when all have begun; at any message it says how many bytes came since the last one, at "end" it hangs up and ends.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { connectExec } from "./exec-connection.ts";

const { urls } = workerData as { urls: readonly string[] };
const connections = await Promise.all(urls.map((url) => connectExec("spdy", url, "stdout")));
const received = () => connections.reduce((sum, connection) => sum + connection.received(), 0);
while (connections.some((connection) => connection.received() < 100_000)) await sleep(10);
let before = received();
parentPort?.on("message", (message: string) => {
  const now = received();
  send(now - before);
  before = now;
  if (message !== "end") return;
  for (const connection of connections) connection.close();
  parentPort?.close();
});
send("ready");

function send(message: unknown): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
  parentPort?.postMessage(message);
}
