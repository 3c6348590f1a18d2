import { parentPort } from "node:worker_threads";
import { exhaustionOf } from "@keelson/base/exhaustion.ts";
import { codeOf, messageOf, wrapError } from "@keelson/base/status.ts";
import { HttpTransport } from "@keelson/oci/distribution/transport.ts";
import type { FromWorker, ToWorker, WorkerResult } from "./layer-workers.ts";
import { repairLayer } from "./repair-layer.ts";
import { inheritAttributes } from "./unpack/inherit.ts";
import { fetchLayer } from "./unpack/layer-job.ts";
import { amendManifest } from "./unpack/write-manifest.ts";

/** The program of a worker thread: runs the jobs that layer-workers.ts sends, several at a time. */

const progressIntervalMs = 200;
const transport = new HttpTransport();
const running = new Map<number, AbortController>();

function send(message: FromWorker): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for a browser's windows
  parentPort?.postMessage(message);
}

async function run(message: Exclude<ToWorker, { is: "abort" }>, signal: AbortSignal): Promise<void> {
  try {
    send({ is: "done", id: message.id, result: await resultOf(message, signal) });
  } catch (thrown) {
    const error = sendable(thrown, message);
    send({ is: "failed", id: message.id, code: codeOf(error), message: messageOf(error) });
  } finally {
    running.delete(message.id);
  }
}

/**
 * The error to send, which arrives without its cause. Paths in a layer's errors begin at the layer, so for a full disk
 * the layer's directory is added.
 */
function sendable(error: unknown, message: Exclude<ToWorker, { is: "abort" }>): unknown {
  const exhausted = exhaustionOf(error);
  if (exhausted === undefined) return error;
  return message.is === "fetch" ? wrapError(`unpack into ${message.job.directory}`, exhausted) : exhausted;
}

async function resultOf(
  message: Exclude<ToWorker, { is: "abort" }>,
  signal: AbortSignal,
): Promise<WorkerResult[keyof WorkerResult]> {
  switch (message.is) {
    case "fetch":
      return fetchLayer(message.job, transport, progressOf(message.id), signal);
    case "inherit": {
      const { directory, manifestPath, paths, below } = message.job;
      inheritAttributes(directory, paths, below);
      return { manifestDigest: amendManifest(manifestPath, directory, paths) };
    }
    case "repair":
      return repairLayer(message.job.damaged, message.job.fresh);
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
