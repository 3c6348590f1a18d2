/** A worker that takes an inventory of each directory that it is sent, so that clients do not wait meanwhile. */
import { parentPort } from "node:worker_threads";
import { takeInventory } from "./inventory.ts";

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
parentPort?.on("message", (dir: string) => parentPort?.postMessage(takeInventory(dir)));
