import { parentPort } from "node:worker_threads";
import { codeOf, messageOf } from "@keelson/base/status.ts";
import { HttpTransport } from "@keelson/oci/distribution/transport.ts";
import type { FromWorker, ToWorker } from "./layer-workers.ts";
import { inheritAttributes } from "./unpack/inherit.ts";
import { fetchLayer } from "./unpack/layer-job.ts";

/** The program of a worker thread: does what layer-workers.ts sends, several jobs at a time. */

const progressIntervalMs = 200;
const transport = new HttpTransport();
const running = new Map<number, AbortController>();

function send(message: FromWorker): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
  parentPort?.postMessage(message);
}

async function run(message: ToWorker & { is: "fetch" | "inherit" }, signal: AbortSignal): Promise<void> {
  try {
    if (message.is === "inherit") {
      inheritAttributes(message.directory, message.paths, message.below);
      send({ is: "done", id: message.id, layer: undefined });
    } else {
      send({ is: "done", id: message.id, layer: await fetchLayer(message.job, transport, progressOf(message.id), signal) });
    }
  } catch (error) {
    send({ is: "failed", id: message.id, code: codeOf(error), message: messageOf(error) });
  } finally {
    running.delete(message.id);
  }
}

function progressOf(id: number): (bytes: number) => void {
  let sentAtMs = 0;
  return (receivedBytes) => {
    const nowMs = performance.now();
    if (nowMs - sentAtMs < progressIntervalMs) return;
    sentAtMs = nowMs;
    send({ is: "progress", id, receivedBytes });
  };
}

parentPort?.on("message", (message: ToWorker) => {
  if (message.is === "abort") {
    running.get(message.id)?.abort();
    return;
  }
  const abort = new AbortController();
  running.set(message.id, abort);
  void run(message, abort.signal);
});
