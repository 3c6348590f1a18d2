import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { test } from "node:test";
import { closeFd, createPipe } from "./pipe.ts";
import { Pty, resizePtyOf } from "./pty.ts";
import { spawn } from "./spawn.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;

async function outputOf(pty: Pty): Promise<string> {
  let text = "";
  pty.stream.on("data", (bytes: Buffer) => (text += bytes.toString()));
  await new Promise((resolve) => pty.stream.once("close", resolve));
  return text;
}

test("a child has a raw terminal of the given size, and its end is the stream's", async () => {
  const before = openFds();
  {
    using pty = new Pty();
    pty.resize({ rows: 43, columns: 101 });
    const child = spawn({ file: "sh", args: ["-c", "tty >/dev/null && stty size; read line; echo got $line; exit 3"], fds: [pty.slaveFd, pty.slaveFd, pty.slaveFd], newSession: true });
    pty.closeSlave();
    const output = outputOf(pty);
    pty.stream.write("words\n");
    assert.equal((await child.exited).code, 3);
    // Neither echoed nor translated.
    assert.equal(await output, "43 101\ngot words\n");
  }
  await delay(20);
  assert.equal(openFds(), before);
});

test("a large output arrives whole", async () => {
  using pty = new Pty();
  const child = spawn({ file: "sh", args: ["-c", "seq 1 100000"], fds: ["null", pty.slaveFd, "null"] });
  pty.closeSlave();
  const text = await outputOf(pty);
  await child.exited;
  assert.equal(text.length, 588_895);
});

test("sizes beyond 16 bits are cut, and a closed terminal takes none", async () => {
  const pty = new Pty();
  pty.resize({ rows: 1_000_000, columns: 70_000 });
  pty[Symbol.dispose]();
  await delay(10);
  pty.resize({ rows: 1, columns: 1 });
});

test("the terminal whose master a child has open can be resized, one that is not there cannot", async () => {
  const input = createPipe();
  const seen = 'sh -c \'until [ "$(stty size)" = "33 77" ]; do sleep 0.02; done; exit 7\'';
  // script(1) makes a terminal for a command and copies, as container runtimes do.
  const child = spawn({ file: "script", args: ["-qec", seen, "/dev/null"], fds: [input.readFd, "null", "null"] });
  closeFd(input.readFd);
  for (let i = 0; i < 500 && !resizePtyOf(child, { rows: 33, columns: 77 }); i += 1) await delay(5);
  assert.equal((await child.exited).code, 7);
  closeFd(input.writeFd);
  assert.equal(resizePtyOf(child, { rows: 1, columns: 1 }), false);
  const without = spawn({ file: "sleep", args: ["10"] });
  assert.equal(resizePtyOf(without, { rows: 1, columns: 1 }), false);
  without.kill();
  await without.exited;
});
