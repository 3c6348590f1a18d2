import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

const root = join(import.meta.dirname, "..");

/** Loads a module in a worker thread, where it has a `parentPort`, and reports that it did. */
const loader = `import(require("node:worker_threads").workerData).then(
  () => require("node:worker_threads").parentPort.postMessage("loaded"))`;

test("what ships works from any directory", async (t) => {
  const out = mkdtempSync(join(tmpdir(), "keelson-build-"));
  t.after(() => rmSync(out, { recursive: true }));
  const run = (file: string, ...args: string[]) => execFileSync(file, args, { encoding: "utf8", cwd: "/" });
  run(process.execPath, join(root, "scripts/build.mjs"), out);
  for (const program of ["keelsond", "keelctl"]) assert.match(run(join(out, "bin", program), "--version"), /0\.1\.0/);
  assert.match(run(join(out, "bin/keelsond"), "config", "default"), /^\[images\]/m);
  // The programs of worker threads, by the names that the sources look for beside the bundle.
  const workers = new Set(
    globSync("packages/*/src/**/*.ts", { cwd: root })
      .map((file) => readFileSync(join(root, file), "utf8"))
      .flatMap((text) => [...text.matchAll(/"\.\/([a-z-]+)\.js"/g)].map(([, name]) => name!)),
  );
  assert.ok(workers.size >= 3, [...workers].join(" "));
  for (const name of workers) {
    const file = pathToFileURL(join(out, `lib/keelson/${name}.js`)).href;
    const worker = new Worker(loader, { eval: true, workerData: file });
    const [message] = (await once(worker, "message")) as [string];
    assert.equal(message, "loaded", name);
    await worker.terminate();
  }
});
