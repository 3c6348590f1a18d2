import assert from "node:assert/strict";
import { Socket } from "node:net";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { closeFd, createPipe } from "./pipe.ts";
import { Poll, pollReadable } from "./poll.ts";

test("it tells when an fd is ready, while it is wanted", async () => {
  const { readFd, writeFd } = createPipe();
  const writer = new Socket({ fd: writeFd, readable: false, writable: true });
  let ready = Promise.withResolvers<number>();
  const poll = new Poll(readFd, (events) => {
    poll.want(0);
    ready.resolve(events);
  });
  writer.write("x");
  poll.want(pollReadable);
  assert.equal(await ready.promise, pollReadable);
  ready = Promise.withResolvers();
  poll.want(pollReadable);
  assert.equal(await ready.promise, pollReadable, "nothing was read");
  poll[Symbol.dispose]();
  closeFd(readFd);
  writer.destroy();
});

test("the fds of a thread that ends are closed with it", async () => {
  const { readFd, writeFd } = createPipe();
  const program = `import { Poll } from ${JSON.stringify(import.meta.resolve("./poll.ts"))};
    import { parentPort } from "node:worker_threads";
    new Poll(${writeFd}, () => {}).want(0);
    parentPort.on("message", () => {}).postMessage("polling");`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`));
  await new Promise((resolve) => worker.once("message", resolve));
  const reader = new Socket({ fd: readFd, readable: true, writable: false });
  const hasEnded = new Promise((resolve) => reader.resume().once("end", resolve));
  await worker.terminate();
  await hasEnded;
});
