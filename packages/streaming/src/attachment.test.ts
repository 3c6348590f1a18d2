import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { SeqpacketSocket, seqpacketPair } from "@keelson/linux/seqpacket.ts";
import { attachClient } from "./attachment.ts";

test("a client gets the last output of a container that has left input unread, also while it sends more", async () => {
  for (const sendsMore of [false, true]) {
    const { a, b } = seqpacketPair();
    const monitor = new SeqpacketSocket(b, 8192);
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const container = { fd: a, stdin: true, stdinOnce: false, tty: false };
    const signal = new AbortController().signal;
    const output = buffer(stdout);
    const ended = attachClient(
      container,
      { stdin, stdout, stderr: undefined, sizes: undefined, signal, finish: () => Promise.resolve() },
      true,
    );
    stdin.write("input that nobody reads");
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (let i = 0; i < 20; i += 1) monitor.write(Buffer.from(`\x02line ${i}\n`));
    monitor.destroy();
    if (sendsMore) stdin.write(Buffer.alloc(400_000));
    assert.deepEqual(await ended, { is: "exited", exitCode: 0 });
    stdout.end();
    assert.equal((await output).toString(), Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join(""));
  }
});
