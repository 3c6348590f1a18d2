import assert from "node:assert/strict";
import { once } from "node:events";
import { Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createPipe } from "@keelson/linux/pipe.ts";
import { readFd } from "./byte-source.ts";

test("bytes arrive complete, their buffers stay untouched until they are done with, and nothing more is read until then", async () => {
  const { readFd: fd, writeFd } = createPipe();
  const writer = new Socket({ fd: writeFd, readable: false, writable: true });
  const bytes = Buffer.from(Array.from({ length: 1_000_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff));
  writer.end(bytes);
  const taken: { bytes: Buffer; copy: Buffer; done: () => void }[] = [];
  const socket = readFd(fd, false, (part, done) => void taken.push({ bytes: part, copy: Buffer.from(part), done }));
  const isClosed = once(socket, "close");
  const arrived: Buffer[] = [];
  let length = 0;
  while (length < bytes.length) {
    await delay(5);
    assert.ok(taken.length <= 2, `${taken.length} buffers are out`);
    // Both buffers have stayed as they were while the pipe was full.
    for (const { bytes: part, copy } of taken) assert.ok(part.equals(copy));
    for (const { copy, done } of taken.splice(0)) {
      arrived.push(copy);
      length += copy.length;
      done();
    }
  }
  await isClosed;
  assert.ok(Buffer.concat(arrived).equals(bytes));
});

test("destroying it in the middle closes its fd", async () => {
  const { readFd: fd, writeFd } = createPipe();
  const writer = new Socket({ fd: writeFd, readable: false, writable: true });
  writer.on("error", () => {});
  const isBroken = new Promise((resolve) => writer.once("close", resolve));
  writer.write(Buffer.alloc(1_000_000));
  const done = await new Promise<() => void>((resolve) => {
    const socket = readFd(fd, false, (_bytes, done) => {
      socket.destroy();
      resolve(done);
    });
  });
  done();
  await isBroken;
});
