import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { ReadStream } from "node:tty";
import { Pty, terminalStream } from "./pty.ts";
import { spawn } from "./spawn.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;

async function outputOf(stream: ReadStream): Promise<string> {
  let text = "";
  stream.on("data", (bytes: Buffer) => (text += bytes.toString()));
  await new Promise((resolve) => stream.once("close", resolve));
  return text;
}

test("a child has a raw terminal of the given size, and its end is the stream's", async () => {
  const before = openFds();
  {
    using pty = new Pty();
    pty.master.resize({ rows: 43, columns: 101 });
    const child = spawn({
      file: "sh",
      args: ["-c", "tty >/dev/null && stty size; read line; echo got $line; exit 3"],
      fds: [pty.slaveFd, pty.slaveFd, pty.slaveFd],
      newSession: true,
    });
    pty.closeSlave();
    const stream = terminalStream(pty.master.duplicate());
    const output = outputOf(stream);
    stream.write("words\n");
    assert.equal((await child.exited).code, 3);
    // Neither echoed nor translated.
    assert.equal(await output, "43 101\ngot words\n");
  }
  await delay(20);
  assert.ok(openFds() <= before, "fds stay open"); // those of earlier files may close meanwhile
});

test("a large output arrives whole", async () => {
  using pty = new Pty();
  const child = spawn({ file: "sh", args: ["-c", "seq 1 100000"], fds: ["null", pty.slaveFd, "null"] });
  pty.closeSlave();
  const text = await outputOf(terminalStream(pty.master.duplicate()));
  await child.exited;
  assert.equal(text.length, 588_895);
});

test("sizes are limited to 16 bits, and a closed terminal ignores them", async () => {
  const pty = new Pty();
  pty.master.resize({ rows: 1_000_000, columns: 70_000 });
  pty[Symbol.dispose]();
  pty.master.resize({ rows: 1, columns: 1 });
});
