/**
 * Reads the stdout of execs, whose URLs are in workerData, as fast as it comes, on a thread of its own. Posts "ready"
 * when all have begun. Answers any message with the number of bytes since the last one; at "end" it hangs up and ends.
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
