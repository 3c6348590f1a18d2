import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { ConsoleSocket } from "./console-socket.ts";
import { closeFd } from "./pipe.ts";
import { run } from "./run.ts";
import { compile } from "./testing/compile.ts";
import { temporaryDirectory } from "./testing/temporary-directory.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;

test("it takes one fd of a message, and any others do not stay open", async (t) => {
  const sender = compile(t, "send-fds");
  const dir = temporaryDirectory(t);
  const before = openFds();
  for (const count of [1, 2, 8]) {
    using socket = new ConsoleSocket(dir, "console");
    assert.equal((await run({ file: sender, args: [socket.path, String(count)] })).code, 0);
    const master = await socket.master;
    assert.ok(master !== undefined);
    const whileOpen = openFds();
    closeFd(master);
    assert.equal(openFds(), whileOpen - 1);
  }
  assert.ok(openFds() <= before, "fds stay open"); // those of earlier files may close meanwhile
});

test("without an fd in the message there is no terminal", async (t) => {
  const sender = compile(t, "send-fds");
  const before = openFds();
  const socket = new ConsoleSocket(temporaryDirectory(t), "console");
  assert.equal((await run({ file: sender, args: [socket.path, "0"] })).code, 0);
  socket.receiveNow();
  socket[Symbol.dispose]();
  assert.equal(await socket.master, undefined);
  assert.ok(openFds() <= before, "fds stay open"); // those of earlier files may close meanwhile
});
