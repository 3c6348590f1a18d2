import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { processStartTicks } from "@keelson/linux/procfs.ts";
import { MonitorWatch } from "./monitor-watch.ts";

const times = { periodMs: 20, silenceMs: 200, busyMs: 60_000 };

async function start(t: TestContext, file: string, ...args: string[]): Promise<ChildProcess & ProcessIdentity> {
  const child = spawn(file, args, { stdio: "ignore" });
  t.after(() => child.kill("SIGKILL"));
  await once(child, "spawn");
  return Object.assign(child, { pid: child.pid!, startTicks: processStartTicks(child.pid!)! });
}

async function watched(t: TestContext, monitor: ProcessIdentity, over = {}) {
  const main = await start(t, "sleep", "600");
  const ended = Promise.withResolvers<void>();
  const watch = new MonitorWatch({ main, monitor }, ended.resolve, { ...times, ...over });
  t.after(() => watch[Symbol.dispose]());
  // A watch does not keep the event loop running.
  const awake = setInterval(() => {}, 1000);
  t.after(() => clearInterval(awake));
  return { main, ended: ended.promise, watch };
}

test("a monitor that is stopped is killed once its container's first process is gone", async (t) => {
  const monitor = await start(t, "sleep", "600");
  const { main, ended } = await watched(t, monitor);
  monitor.kill("SIGSTOP");
  main.kill("SIGKILL");
  await ended;
  await once(monitor, "exit");
  assert.equal(monitor.signalCode, "SIGKILL");
});

test("a monitor is left alone as long as its container's first process runs", async (t) => {
  const monitor = await start(t, "sleep", "600");
  await watched(t, monitor);
  monitor.kill("SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 2 * times.silenceMs));
  assert.equal(monitor.signalCode, null);
});

test("a monitor that works gets longer, but not for ever", async (t) => {
  const monitor = await start(t, "sh", "-c", "while :; do :; done");
  const { main, ended } = await watched(t, monitor, { silenceMs: 40, busyMs: 1000 });
  const startedMs = performance.now();
  main.kill("SIGKILL");
  await ended;
  assert.ok(performance.now() - startedMs > 900);
  await once(monitor, "exit");
  assert.equal(monitor.signalCode, "SIGKILL");
});

test("a monitor that ends in time ends by itself", async (t) => {
  const monitor = await start(t, "sleep", "0.1");
  const { main, ended } = await watched(t, monitor, { silenceMs: 60_000 });
  main.kill("SIGKILL");
  await ended;
  assert.equal(monitor.exitCode ?? (await once(monitor, "exit"))[0], 0);
});

test("nobody is killed after the watch is over", async (t) => {
  const monitor = await start(t, "sleep", "600");
  const { main, watch } = await watched(t, monitor);
  monitor.kill("SIGSTOP");
  main.kill("SIGKILL");
  await once(main, "exit");
  watch[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, 2 * times.silenceMs));
  assert.equal(monitor.signalCode, null);
});
