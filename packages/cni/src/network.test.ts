import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Code, messageOf, StatusError, toStatus } from "@keelson/base/status.ts";
import type { Attachment } from "./attachment.ts";
import { parseConfigList } from "./config-list.ts";
import { addNetwork, delNetwork, gcNetwork, statusNetwork } from "./network.ts";
import { answer, type FakePlugin, makeFakePlugins } from "./testing/fake-plugins.ts";

const never = new AbortController().signal;
const attachment: Attachment = {
  containerId: "c1",
  netns: "/run/netns/c1",
  ifName: "eth0",
  args: [
    ["K8S_POD_NAME", "web"],
    ["IgnoreUnknown", "1"],
  ],
  capabilityArgs: { portMappings: [{ hostPort: 80 }], bandwidth: { ingressRate: 1 } },
};
const listOf = (cniVersion: string, ...plugins: object[]) =>
  parseConfigList(JSON.stringify({ cniVersion, name: "podnet", plugins }), "test");
const chain = (cniVersion = "1.0.0") =>
  listOf(
    cniVersion,
    { type: "bridge", mtu: 9000, prevResult: "stale", runtimeConfig: "stale", "cni.dev/attachments": [] },
    { type: "tuning" },
    { type: "portmap", capabilities: { portMappings: true, ips: true, bandwidth: false } },
  );
const bridge: FakePlugin = (call) => answer(call, "10.1.0.5/16");
const pass: FakePlugin = (call) => answer(call);
const all = { bridge, tuning: pass, portmap: pass };

test("ADD runs down the chain with each result, DEL runs back with the last one", async () => {
  using fake = makeFakePlugins(all);
  const result = await addNetwork(fake.deps, chain(), attachment, never);
  assert.deepEqual(result.ips, [{ address: "10.1.0.5/16", interface: 0 }]);
  await delNetwork(fake.deps, { list: chain(), attachment, result }, never);
  assert.deepEqual(fake.story(), [
    "bridge ADD",
    "tuning ADD",
    "portmap ADD",
    "portmap DEL",
    "tuning DEL",
    "bridge DEL",
  ]);
  const [first, second, third, fourth] = fake.calls;
  assert.deepEqual(first?.config, { type: "bridge", mtu: 9000, name: "podnet", cniVersion: "1.0.0" });
  assert.deepEqual(first.env, {
    CNI_COMMAND: "ADD",
    CNI_PATH: fake.binDir,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c1",
    CNI_IFNAME: "eth0",
    CNI_ARGS: "K8S_POD_NAME=web;IgnoreUnknown=1",
  });
  assert.deepEqual(second?.config["prevResult"], result.raw);
  assert.deepEqual(third?.config["runtimeConfig"], { portMappings: [{ hostPort: 80 }] });
  assert.deepEqual(fourth?.config, third.config);
  assert.deepEqual((await fake.deps.cache.list()).attachments, []);
});

test("the attachment is on disk before the first plugin runs, and with its result afterwards", async () => {
  const seen: unknown[] = [];
  using fake = makeFakePlugins({
    bridge: async (call) => {
      seen.push(...(await fake.deps.cache.list("c1")).attachments);
      return answer(call, "10.1.0.5/16");
    },
  });
  const list = listOf("1.0.0", { type: "bridge" });
  const result = await addNetwork(fake.deps, list, attachment, never);
  assert.deepEqual(seen, [{ attachment, list, result: undefined }]);
  assert.deepEqual((await fake.deps.cache.list("c1")).attachments, [{ attachment, list, result }]);
});

for (const [step, type] of ["bridge", "tuning", "portmap"].entries()) {
  test(`when ${type} fails, what ran is undone in reverse, and the same ADD then works`, async () => {
    let isBroken = true;
    const broken: FakePlugin = (call) =>
      isBroken && call.command === "ADD"
        ? { code: 1, stdout: '{"code":7,"msg":"no","details":"because"}' }
        : type === "bridge"
          ? bridge(call)
          : pass(call);
    using fake = makeFakePlugins({ ...all, [type]: broken });
    await assert.rejects(addNetwork(fake.deps, chain(), attachment, never), (error: StatusError) => {
      assert.equal(error.code, Code.FailedPrecondition);
      assert.equal(error.message, `plugin ${type}: ADD: no; because (CNI error 7)`);
      return true;
    });
    const ran = ["bridge", "tuning", "portmap"].slice(0, step + 1);
    assert.deepEqual(fake.story(), [...ran.map((t) => `${t} ADD`), ...ran.toReversed().map((t) => `${t} DEL`)]);
    assert.equal(fake.calls.at(-1)?.config["prevResult"] !== undefined, step > 0);
    assert.deepEqual((await fake.deps.cache.list()).attachments, []);
    isBroken = false;
    await addNetwork(fake.deps, chain(), attachment, never);
  });
}

test("when undoing fails too, the others are undone, both errors are reported, and the attachment is kept", async () => {
  using fake = makeFakePlugins({ ...all, tuning: () => ({ code: 1, stdout: '{"code":100,"msg":"stuck"}' }) });
  await assert.rejects(addNetwork(fake.deps, chain(), attachment, never), (error) => {
    assert.equal(
      messageOf(error),
      "plugin tuning: ADD: stuck (CNI error 100) (and while cleaning up: plugin tuning: DEL: stuck (CNI error 100))",
    );
    assert.equal(toStatus(error).code, Code.Internal);
    return true;
  });
  assert.deepEqual(fake.story(), ["bridge ADD", "tuning ADD", "tuning DEL", "bridge DEL"]);
  assert.equal((await fake.deps.cache.list("c1")).attachments.length, 1);
});

test("a call that is aborted in the middle is undone, with a separate deadline", async () => {
  const abort = new AbortController();
  using fake = makeFakePlugins({
    ...all,
    tuning: (call) => {
      if (call.command === "DEL") return {};
      queueMicrotask(() => abort.abort(new DOMException("over", "TimeoutError")));
      return new Promise(() => {});
    },
  });
  await assert.rejects(addNetwork(fake.deps, chain(), attachment, abort.signal), (error: StatusError) => {
    assert.equal(error.code, Code.DeadlineExceeded);
    assert.match(
      error.message,
      /^plugin tuning: ADD: was running for 0\.\d s when the deadline was over, and was killed$/,
    );
    return true;
  });
  assert.deepEqual(fake.story(), ["bridge ADD", "tuning ADD", "tuning DEL", "bridge DEL"]);
});

test("undoing that hangs is ended by its deadline", async () => {
  using fake = makeFakePlugins({
    ...all,
    tuning: (call) => (call.command === "DEL" ? new Promise(() => {}) : { code: 1 }),
  });
  // Neither the rollback's timeout nor the fake plugin keeps the process running.
  const keepAlive = setInterval(() => {}, 1000);
  await assert.rejects(addNetwork({ ...fake.deps, cleanupTimeoutMs: 20 }, chain(), attachment, never), (error) =>
    /plugin tuning: ADD: ended with code 1 and said nothing \(and while cleaning up: plugin tuning: DEL: was running for 0\.\d s when the deadline was over/.test(
      messageOf(error),
    ),
  );
  clearInterval(keepAlive);
});

test("a missing plugin is found before anything runs", async () => {
  using fake = makeFakePlugins({ bridge });
  await assert.rejects(addNetwork(fake.deps, chain(), attachment, never), (error: StatusError) => {
    assert.equal(error.code, Code.FailedPrecondition);
    assert.equal(
      error.message,
      `plugin tuning: there is no such binary in ${fake.binDir}; install the CNI plugins or correct the directories`,
    );
    return true;
  });
  assert.deepEqual(fake.calls, []);
  assert.deepEqual((await fake.deps.cache.list()).attachments, []);
});

test("when a plugin disappears between ADD and DEL, the attachment is kept until it is back", async () => {
  using fake = makeFakePlugins(all);
  const result = await addNetwork(fake.deps, chain(), attachment, never);
  rmSync(join(fake.binDir, "tuning"));
  const attached = { list: chain(), attachment, result };
  await assert.rejects(delNetwork(fake.deps, attached, never), /plugin tuning: there is no such binary/);
  writeFileSync(join(fake.binDir, "tuning"), "", { mode: 0o755 });
  await delNetwork(fake.deps, attached, never);
  assert.deepEqual((await fake.deps.cache.list()).attachments, []);
});

test("a plugin's bad answer is an Internal error, and is undone", async () => {
  const cases: [Awaited<ReturnType<FakePlugin>>, RegExp][] = [
    [{ stdout: "" }, /result: is not JSON/],
    [{ stdout: "<html>" }, /result: is not JSON/],
    [{ stdout: '{"cniVersion":"9.0.0"}' }, /result: cniVersion: "9.0.0" was not asked for/],
    [{ stdout: " ".repeat((1 << 20) + 1) }, /wrote more than 1048576 bytes to stdout/],
    [{ code: 2, stderr: "panic: oops\n\ngoroutine 1" }, /ended with code 2: panic: oops goroutine 1/],
    [{ code: 1, stdout: "plain\u0007text" }, /ended with code 1: plain\?text/],
    [{ code: 1, stdout: '{"code":11,"msg":""}' }, /ended with code 1/],
    [{ code: null, signal: "SIGSEGV" }, /was killed by SIGSEGV and said nothing/],
  ];
  for (const [exit, message] of cases) {
    using fake = makeFakePlugins({ bridge: (call) => (call.command === "ADD" ? exit : {}) });
    await assert.rejects(
      addNetwork(fake.deps, listOf("1.0.0", { type: "bridge" }), attachment, never),
      (error: StatusError) => {
        assert.equal(error.code, Code.Internal);
        assert.match(error.message, /^plugin bridge: ADD: /);
        assert.match(error.message, message);
        return true;
      },
    );
    assert.deepEqual(fake.story(), ["bridge ADD", "bridge DEL"]);
  }
});

test("when a plugin cannot be started, the error names it", async () => {
  using fake = makeFakePlugins(all);
  const exec = () => Promise.reject(new Error("spawn: EAGAIN"));
  await assert.rejects(addNetwork({ ...fake.deps, exec }, chain(), attachment, never), (error) =>
    messageOf(error).startsWith("plugin bridge: ADD: spawn: EAGAIN (and while"),
  );
});

test("hostile parameters are refused before anything runs", async () => {
  using fake = makeFakePlugins(all);
  for (const change of [
    { containerId: "../x" },
    { containerId: "" },
    { containerId: "a/b" },
    { ifName: "../eth0" },
    { ifName: "" },
    { ifName: "a-very-long-name" },
    { netns: "/a\0b" },
    { args: [["K8S_POD_NAME", "a;CNI=1"]] },
    { args: [["A;B", "x"]] },
  ] as Partial<Attachment>[]) {
    await assert.rejects(
      addNetwork(fake.deps, chain(), { ...attachment, ...change }, never),
      (error: StatusError) => error.code === Code.InvalidArgument,
    );
  }
  assert.deepEqual(fake.calls, []);
});

test("DEL stops at the first plugin that fails and keeps the attachment", async () => {
  using fake = makeFakePlugins({
    ...all,
    tuning: (call) => (call.command === "DEL" ? { code: 1, stdout: '{"code":11,"msg":"busy"}' } : pass(call)),
  });
  const result = await addNetwork(fake.deps, chain(), attachment, never);
  await assert.rejects(
    delNetwork(fake.deps, { list: chain(), attachment, result }, never),
    (error: StatusError) => error.code === Code.Unavailable,
  );
  assert.deepEqual(fake.story().slice(3), ["portmap DEL", "tuning DEL"]);
  assert.equal((await fake.deps.cache.list()).attachments.length, 1);
});

test("plugins of each version get only what their version has", async () => {
  for (const [version, delHasResult, statuses] of [
    ["0.3.1", false, 0],
    ["0.4.0", true, 0],
    ["1.0.0", true, 0],
    ["1.1.0", true, 1],
  ] as const) {
    using fake = makeFakePlugins(all);
    const list = listOf(version, { type: "bridge" });
    const result = await addNetwork(fake.deps, list, attachment, never);
    await statusNetwork(fake.deps, list, never);
    await gcNetwork(fake.deps, list, [attachment], never);
    await delNetwork(fake.deps, { list, attachment, result }, never);
    const count = (command: string): number => fake.calls.filter((call) => call.command === command).length;
    assert.deepEqual([count("STATUS"), count("GC")], [statuses, statuses], version);
    assert.equal(fake.calls.at(-1)?.config["prevResult"] !== undefined, delHasResult, version);
  }
});

test("GC names the valid attachments, runs every plugin and reports all errors", async () => {
  using fake = makeFakePlugins({
    bridge: () => ({ code: 1, stdout: '{"code":100,"msg":"one"}' }),
    tuning: () => ({}),
    portmap: () => ({ code: 1, stdout: '{"code":100,"msg":"two"}' }),
  });
  await assert.rejects(
    gcNetwork(fake.deps, chain("1.1.0"), [attachment], never),
    /plugin bridge: GC: one .*; plugin portmap: GC: two/,
  );
  assert.deepEqual(
    fake.calls.map((call) => call.config["cni.dev/valid-attachments"]),
    Array.from({ length: 3 }, () => [{ containerID: "c1", ifname: "eth0" }]),
  );
  assert.deepEqual(Object.keys(fake.calls[0]?.env ?? {}), ["CNI_COMMAND", "CNI_PATH"]);
});

test("GC is not run when the list forbids it", async () => {
  using fake = makeFakePlugins(all);
  const list = parseConfigList(
    JSON.stringify({
      cniVersion: "1.1.0",
      name: "podnet",
      disableGC: true,
      plugins: [{ type: "bridge" }],
    }),
    "test",
  );
  await gcNetwork(fake.deps, list, [], never);
  assert.deepEqual(fake.story(), []);
});

test("STATUS reports the first plugin that is not ready", async () => {
  using fake = makeFakePlugins({
    ...all,
    tuning: () => ({ code: 1, stdout: '{"cniVersion":"1.1.0","code":50,"msg":"no addresses left"}' }),
  });
  await assert.rejects(
    statusNetwork(fake.deps, chain("1.1.0"), never),
    (error: StatusError) =>
      error.code === Code.Unavailable && error.message.startsWith("plugin tuning: STATUS: no addresses left"),
  );
});
