import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { closeFd, createPipe } from "./pipe.ts";
import { Poll, pollReadable } from "./poll.ts";
import { run } from "./run.ts";

test("it says when an fd is ready, for as long as that is wanted", async () => {
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

test("one that is unreferenced does not keep a process running", async () => {
  const program = (
    unref: string,
  ) => `import { Poll, pollReadable } from ${JSON.stringify(import.meta.resolve("./poll.ts"))};
    import { createPipe } from ${JSON.stringify(import.meta.resolve("./pipe.ts"))};
    const poll = new Poll(createPipe().readFd, () => {});
    poll.want(pollReadable);
    ${unref}`;
  const node = (unref: string, timeoutMs: number) =>
    run({ file: process.execPath, args: ["--input-type=module", "-e", program(unref)], timeoutMs });
  assert.equal((await node("poll.unref();", 30_000)).code, 0);
  await assert.rejects(node("", 1000), { name: "TimeoutError" });
});

test("what cannot be polled is refused", () => {
  using file = { fd: openSync("/etc/passwd", "r"), [Symbol.dispose]: () => closeSync(file.fd) };
  assert.throws(() => new Poll(file.fd, () => {}), { code: "EPERM" });
  const { readFd, writeFd } = createPipe();
  using first = new Poll(readFd, () => {});
  first.want(pollReadable);
  assert.throws(() => new Poll(readFd, () => {}), { code: "EEXIST" });
  first[Symbol.dispose]();
  closeFd(readFd);
  closeFd(writeFd);
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
