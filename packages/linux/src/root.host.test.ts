import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { warmThreadPool } from "./pool.ts";
import { enterRoot } from "./root.ts";

const base = mkdtempSync(join(tmpdir(), "root-"));
after(() => rmSync(base, { recursive: true }));
const layer = join(base, "layer");
mkdirSync(layer);
writeFileSync(join(base, "secret"), "secret");
symlinkSync(join(base, "secret"), join(layer, "absolute"));
symlinkSync("../../../../../../../../.." + join(base, "secret"), join(layer, "relative"));
symlinkSync("/", join(layer, "slash"));
symlinkSync("/proc/self/root", join(layer, "selfroot"));

const modules = { root: new URL("./root.ts", import.meta.url).href, file: new URL("./file.ts", import.meta.url).href };

/**
 * Runs a function body on a worker, with fs, the modules of this package, the layer's path and a port; returns its
 * value.
 */
async function onWorker(body: string, port?: MessagePort): Promise<unknown> {
  const worker = new Worker(
    `const { parentPort, workerData } = require("node:worker_threads");
     const fs = require("node:fs");
     (async () => {
       const { enterRoot, leaveRoot } = await import(workerData.root);
       const file = await import(workerData.file);
       const { layer, base, port } = workerData;
       const attempt = (f) => { try { return f(); } catch (error) { return error.code; } };
       ${body}
     })().then((value) => parentPort.postMessage({ value }), (error) => parentPort.postMessage({ error: { message: error.message, code: error.code } }));`,
    { eval: true, workerData: { ...modules, layer, base, port }, transferList: port === undefined ? [] : [port] },
  );
  const message = await new Promise<{ value?: unknown; error?: unknown }>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  await worker.terminate();
  return message.error ?? message.value;
}

test("it is refused on the main thread and before the pool is warm", async () => {
  assert.throws(() => enterRoot(layer), { code: "EPERM" });
  assert.deepEqual(await onWorker("enterRoot(layer)"), {
    message: `enter root ${layer} before warmThreadPool() was called: Operation not permitted (EPERM)`,
    code: "EPERM",
  });
  await warmThreadPool();
});

test("no path leads out, by link, .. or /proc", async () => {
  const found = await onWorker(`
    enterRoot(layer);
    fs.mkdirSync("/made");
    fs.writeFileSync("/made/file", "x");
    fs.writeFileSync("../../up", "x");
    file.lsetxattr("/made/file", "user.x", Buffer.from("y"));
    return {
      root: fs.readdirSync("/").sort(), dots: fs.readdirSync("../..").sort(), slash: fs.readdirSync("/slash").sort(),
      absolute: attempt(() => fs.readFileSync("/absolute", "utf8")), relative: attempt(() => fs.readFileSync("/relative", "utf8")),
      selfroot: attempt(() => fs.readdirSync("/selfroot/")), base: attempt(() => fs.readdirSync(base)),
      through: attempt(() => fs.writeFileSync("/absolute", "overwritten")),
    };`);
  const names = ["absolute", "made", "relative", "selfroot", "slash", "up"];
  assert.deepEqual(found, {
    root: names,
    dots: names,
    slash: names,
    absolute: "ENOENT",
    relative: "ENOENT",
    selfroot: "ENOENT",
    base: "ENOENT",
    through: "ENOENT",
  });
  assert.equal(readFileSync(join(base, "secret"), "utf8"), "secret");
  assert.equal(readFileSync(join(layer, "made/file"), "utf8"), "x");
});

test("leaving brings back the real root and directory, again and again", async () => {
  const fds = readdirSync("/proc/self/fd").length;
  const found = await onWorker(`
    const seen = [];
    for (let i = 0; i < 20; i++) {
      { using _ = enterRoot(layer); seen.push(fs.existsSync(base)); seen.push(attempt(() => enterRoot("/"))); }
      seen.push(fs.existsSync(base));
      seen.push(fs.readlinkSync("/proc/thread-self/cwd"));
    }
    leaveRoot();
    seen.push(attempt(() => enterRoot(base + "/none")), attempt(() => enterRoot(base + "/secret")), fs.existsSync(base));
    return [...new Set(seen.map(String))];`);
  assert.deepEqual(found, ["false", "EBUSY", "true", process.cwd(), "ENOENT", "ENOTDIR"]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(readdirSync("/proc/self/fd").length <= fds);
});

test("other threads keep their root while and after a worker is in another", async () => {
  const { port1: ours, port2: theirs } = new MessageChannel();
  const inside = onWorker(
    `enterRoot(layer);
     port.postMessage("inside");
     await new Promise((resolve) => port.once("message", resolve));
     return await fs.promises.readFile(base + "/secret", "utf8");`,
    theirs,
  );
  await new Promise((resolve) => ours.once("message", resolve));
  assert.equal(existsSync(base), true);
  assert.deepEqual(
    await Promise.all(Array.from({ length: 16 }, () => readFile(join(base, "secret"), "utf8"))),
    Array.from({ length: 16 }, () => "secret"),
  );
  assert.equal(await onWorker("return fs.existsSync(base)"), true);
  const roots = readdirSync("/proc/self/task").map((thread) => readlinkSync(`/proc/self/task/${thread}/root`));
  assert.equal(roots.filter((root) => root !== "/").length, 1);
  ours.postMessage("go on", []);
  assert.equal(await inside, "secret"); // the pool does a promise's work, and is outside: as documented
  ours.close();
  for (const thread of readdirSync("/proc/self/task"))
    assert.equal(readlinkSync(`/proc/self/task/${thread}/root`), "/");
});
