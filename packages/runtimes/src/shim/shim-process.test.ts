import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { processStartTicks } from "@keelson/linux/procfs.ts";
import type { ShimConnection } from "@keelson/shim/connection.ts";
import type { RuntimeContainer } from "../runtime.ts";
import { ContainerEnds } from "./container-ends.ts";
import type { ContainerStreams } from "./container-streams.ts";
import { ShimProcess } from "./shim-process.ts";
import type { ShimProcesses } from "./shim-processes.ts";

const periodMs = 10_000;
const identity = { pid: process.pid, startTicks: processStartTicks(process.pid)! };
/** Lets what has settled have its effects. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

type Answer = (method: string, signal: AbortSignal) => Promise<object>;

/** A shim that runs and answers as the test says. Time is the test's. */
function newShim(t: TestContext, answer: Answer) {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const asked: string[] = [];
  const call = (method: string, _request: object, { signal }: { signal: AbortSignal }) => {
    asked.push(method);
    return answer(method, signal);
  };
  const connection = {
    task: { call },
    closed: new Promise<void>(() => {}),
    [Symbol.dispose]: () => {},
  } as unknown as ShimConnection;
  const shim = new ShimProcess({
    bootstrap: { address: "unix:///nowhere", version: 2 },
    identity,
    namespace: "k8s.io",
    connection,
  });
  t.after(() => shim[Symbol.dispose]());
  const periods = async (count: number) => {
    for (let i = 0; i < count; i += 1) {
      t.mock.timers.tick(periodMs);
      await settle();
    }
  };
  return { shim, asked, periods };
}

const silence: Answer = (method, signal) =>
  method === "Wait"
    ? new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
    : Promise.reject(new StatusError(Code.DeadlineExceeded, `${method} was not answered`));

test("a shim that is silent with nobody asking is given up after three periods", async (t) => {
  const { shim, periods } = newShim(t, silence);
  let losses = 0;
  shim.onLost(() => (losses += 1));
  shim.follow("a");
  await periods(2);
  assert.deepEqual([shim.lost, losses], [undefined, 0]);
  await periods(5);
  assert.match(shim.lost ?? "", /hangs: it has not answered for 30 s/);
  assert.equal(losses, 1);
  await assert.rejects(shim.task(AbortSignal.timeout(1000)), { code: Code.Unavailable });
});

test("any answer is a sign of life, and a shim without containers is not asked", async (t) => {
  const answers: Answer[] = [
    silence,
    silence,
    () => Promise.reject(new StatusError(Code.NotFound, "no such container")),
  ];
  let count = 0;
  const { shim, asked, periods } = newShim(t, (...call) => answers[count++ % answers.length]!(...call));
  await periods(2);
  assert.deepEqual(asked, [], "it has no containers yet");
  shim.follow("a");
  await periods(9);
  assert.equal(shim.lost, undefined);
  shim.leave("a");
  await periods(2);
  assert.equal(asked.length, 9);
});

test("the end of a container whose shim is silent is found without anybody asking for it", async (t) => {
  const { shim, periods } = newShim(t, silence);
  const shims = { of: () => shim, task: (_: unknown, signal: AbortSignal) => shim.task(signal) };
  const closed: string[] = [];
  const streams = {
    open: () => Promise.resolve(),
    close: ({ id }: { id: string }) => Promise.resolve(closed.push(id)),
  };
  const ends = new ContainerEnds({
    shims: shims as unknown as ShimProcesses,
    streams: streams as unknown as ContainerStreams,
    log: { debug: () => {}, warn: () => {} } as unknown as ConstructorParameters<typeof ContainerEnds>[0]["log"],
  });
  const container = { id: "a", bundleDir: "/nowhere" } as RuntimeContainer;
  let hasEnded = 0;
  using _ = ends.watch(container, { monitor: identity }, () => (hasEnded += 1));
  await settle();
  await periods(2);
  assert.equal(hasEnded, 0);
  await periods(1);
  await settle();
  assert.deepEqual([hasEnded, closed], [1, ["a"]]);
  const report = await ends.exitOf(container, AbortSignal.timeout(1000));
  assert.match("lost" in report ? report.lost : "", /hangs: it has not answered for 30 s/);
});

test("its silence does not count while a call is open: one lock may be held for all of it", async (t) => {
  const created = Promise.withResolvers<object>();
  const { shim, periods } = newShim(t, (method, signal) =>
    method === "Create" ? created.promise : silence(method, signal),
  );
  shim.follow("a");
  const limits = { timeoutMs: 120_000, signal: new AbortController().signal };
  const task = await shim.task(limits.signal);
  const create = task.call("Create", { id: "a" }, limits);
  task.call("Wait", { id: "a" }, limits).catch(() => {});
  await periods(12);
  assert.equal(shim.lost, undefined);
  created.resolve({});
  await create;
  await periods(3);
  assert.match(shim.lost ?? "", /hangs: it has not answered for 30 s/, "a Wait lasts as long as the container");
});
