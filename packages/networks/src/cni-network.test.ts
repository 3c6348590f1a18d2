import assert from "node:assert/strict";
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { type Log, silentLog } from "@keelson/base/log.ts";
import { Code, codeOf, type StatusError } from "@keelson/base/status.ts";
import { answer, type FakePlugin, makeFakePlugins } from "@keelson/cni/testing/fake-plugins.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { AttachedPod } from "./attached-pod.ts";
import { CniNetwork, type CniNetworkDeps } from "./cni-network.ts";
import type { PluginCheck } from "./configured-network.ts";

const never = new AbortController().signal;
const id = "3f2a1b".padEnd(64, "0");
const pod: AttachedPod = {
  id,
  name: "web",
  namespace: "default",
  uid: "u1",
  netnsPath: "/nonexistent/pin",
  annotations: { a: "b" },
  portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 8080, hostIP: "" }],
};
const bridge: FakePlugin = (call) => answer(call, "10.1.0.5/16");
const portmap: FakePlugin = (call) => answer(call);
const lists = (cniVersion = "1.0.0") => ({
  cniVersion,
  name: "podnet",
  plugins: [{ type: "bridge" }, { type: "portmap", capabilities: { portMappings: true } }],
});

function setUp(
  plugins: Record<string, FakePlugin> = { bridge, portmap },
  list: object | null = lists(),
  overrides: Partial<CniNetworkDeps> = {},
) {
  const fake = makeFakePlugins(plugins);
  const confDir = join(fake.dir, "etc", "net.d");
  const put = (value: object | string, name = "10-podnet.conflist"): void => {
    mkdirSync(confDir, { recursive: true });
    writeFileSync(join(confDir, name), typeof value === "string" ? value : JSON.stringify(value));
  };
  if (list !== null) put(list);
  const logged: string[] = [];
  const note = (_: object, message: string) => void logged.push(message);
  const log: Log = { debug: () => {}, info: () => {}, warn: note, error: note };
  const networks = new CniNetwork({
    log,
    confDir,
    binDirs: fake.deps.binDirs,
    cacheDir: join(fake.dir, "cache"),
    exec: fake.deps.exec,
    ...overrides,
  });
  return {
    ...fake,
    confDir,
    put,
    logged,
    networks,
    cached: () => fake.deps.cache && readdirSync(join(fake.dir, "cache/results")),
    [Symbol.dispose]: () => {
      networks.close();
      fake[Symbol.dispose]();
    },
  };
}

function closing(networks: CniNetwork) {
  return Object.assign(networks, { [Symbol.dispose]: () => networks.close() });
}

const ready = { ready: true, reason: "", message: "" };

test("a plugin that must not be used attaches no pod, which is the network's problem, and detaches those of before", async () => {
  const refused = new Set<string>();
  const looked = new Set<string>();
  const check: PluginCheck = {
    refuses: true,
    look: (programs) => (programs.forEach(({ path }) => looked.add(basename(path))), Promise.resolve()),
    refusal: (path) => (refused.has(basename(path)) ? `${basename(path)} has known holes` : undefined),
  };
  using f = setUp(undefined, undefined, { check });
  await f.networks.start();
  assert.deepEqual(f.networks.status(), ready);
  assert.deepEqual(looked, new Set(["bridge", "portmap"]));
  await f.networks.attach(pod, never);
  refused.add("portmap");
  await assert.rejects(
    f.networks.attach({ ...pod, id: "second" }, never),
    (e: unknown) =>
      codeOf(e) === Code.FailedPrecondition && /attach pod second .*portmap has known holes/.test((e as Error).message),
  );
  await f.networks.detach(pod, never);
  using g = setUp(undefined, undefined, { check });
  await g.networks.start();
  assert.deepEqual(g.networks.status(), {
    ready: false,
    reason: "NetworkPluginNotReady",
    message: "network podnet: portmap has known holes",
  });
});

test("a pod is attached with the arguments that its plugins declare, and detached with the same", async () => {
  using f = setUp();
  await f.networks.start();
  assert.deepEqual(f.networks.status(), ready);
  const stages: string[] = [];
  const { ips } = await f.networks.attach(pod, never, (stage) => stages.push(stage));
  assert.deepEqual(ips, ["10.1.0.5"]);
  assert.deepEqual(stages, [
    "attach to network podnet: plugin bridge: ADD",
    "attach to network podnet: plugin portmap: ADD",
  ]);
  assert.deepEqual(f.calls[1]?.config["runtimeConfig"], {
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" }],
  });
  assert.match(
    f.calls[0]?.env["CNI_ARGS"] ?? "",
    /K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=3f2a1b0+;K8S_POD_UID=u1$/,
  );
  await f.networks.detach(pod, never);
  assert.deepEqual(f.story().slice(2), ["portmap DEL", "bridge DEL"]);
  assert.equal(f.calls.at(-1)?.env["CNI_NETNS"], "");
  assert.deepEqual(f.cached(), []);
});

test("detaching again runs no plugin, but does after the pod was attached again", async () => {
  using f = setUp();
  await f.networks.start();
  await f.networks.attach(pod, never);
  await f.networks.detach(pod, never);
  const calls = f.calls.length;
  await f.networks.detach(pod, never);
  assert.equal(f.calls.length, calls);
  await f.networks.attach(pod, never);
  await f.networks.detach(pod, never);
  assert.equal(f.calls.length, calls + 4);
});

test("a pod of which nothing is recorded is detached from the current network, if there is one", async () => {
  using f = setUp();
  await f.networks.start();
  await f.networks.detach({ ...pod, name: "a;b", annotations: { "kubernetes.io/egress-bandwidth": "bad" } }, never);
  assert.deepEqual(f.story(), ["portmap DEL", "bridge DEL"]);
  using none = setUp({}, null);
  await none.networks.start();
  await none.networks.detach(pod, never);
});

test("a pod that could not be attached is detached without its plugins", async () => {
  using f = setUp({ bridge });
  await f.networks.start();
  await assert.rejects(f.networks.attach(pod, never), /plugin portmap: there is no such binary/);
  await f.networks.detach(pod, never);
  await f.networks.detach({ ...pod, id: "beef".padEnd(64, "0") }, never); // and so is one that was never attached
  assert.deepEqual(f.calls, []);
  assert.ok(f.logged.some((message) => message.includes("plugin portmap: there is no such binary")));
});

test("a pod is detached from the network to which it was attached, even after the configuration changed", async () => {
  using f = setUp();
  await f.networks.start();
  await f.networks.attach(pod, never);
  f.put({ cniVersion: "1.0.0", name: "other", plugins: [{ type: "nowhere" }] });
  await waitFor(() => !f.networks.status().ready);
  await f.networks.detach(pod, never);
  assert.deepEqual(f.story().slice(2), ["portmap DEL", "bridge DEL"]);
  assert.equal(f.calls.at(-1)?.config["name"], "podnet");
});

test("errors say what was being done for which pod", async () => {
  using f = setUp({ bridge: () => ({ code: 1, stdout: '{"code":100,"msg":"no addresses"}' }), portmap });
  await f.networks.start();
  await assert.rejects(
    f.networks.attach(pod, never),
    /^StatusError: attach pod 3f2a1b0000000 to network podnet: plugin bridge: ADD: no addresses \(CNI error 100\)/,
  );
  await assert.rejects(
    f.networks.detach(pod, never),
    /^StatusError: detach pod 3f2a1b0000000 from network podnet: plugin bridge: DEL: no addresses/,
  );
});

test("wrong settings of a pod are InvalidArgument, and no plugin runs", async () => {
  using f = setUp();
  await f.networks.start();
  for (const change of [{ annotations: { "kubernetes.io/ingress-bandwidth": "x" } }, { name: "a;b" }]) {
    await assert.rejects(
      f.networks.attach({ ...pod, ...change }, never),
      (error: StatusError) =>
        error.code === Code.InvalidArgument && error.message.startsWith("attach pod 3f2a1b0000000 to network podnet: "),
    );
  }
  assert.deepEqual(f.calls, []);
});

test("an attachment without an address is undone", async () => {
  using f = setUp({ bridge: (call) => (call.command === "ADD" ? { stdout: "{}" } : {}), portmap });
  await f.networks.start();
  await assert.rejects(f.networks.attach(pod, never), /the plugins gave eth0 no address/);
  await f.networks.detach(pod, never); // as the pod's teardown does: nothing is left to do
  assert.deepEqual(f.story(), ["bridge ADD", "portmap ADD", "portmap DEL", "bridge DEL"]);
  assert.deepEqual(f.cached(), []);
});

test("without a configuration the status says so, and becomes ready when a file appears", async () => {
  using f = setUp({ bridge, portmap }, null, { nowMs: () => 0 }); // The clock stands still: only the watch can notice.
  await f.networks.start();
  assert.deepEqual(f.networks.status(), {
    ready: false,
    reason: "NetworkPluginNotReady",
    message: `there is no CNI network configuration in ${f.confDir}; put a .conflist there`,
  });
  await assert.rejects(
    f.networks.attach(pod, never),
    (error: StatusError) =>
      error.code === Code.FailedPrecondition && error.message.startsWith("attach pod 3f2a1b0000000: there is no CNI"),
  );
  f.put(lists());
  await waitFor(() => f.networks.status().ready);
  rmSync(f.confDir, { recursive: true });
  await waitFor(() => !f.networks.status().ready);
  f.put(lists());
  await waitFor(() => f.networks.status().ready);
  renameSync(f.confDir, `${f.confDir}.old`);
  await waitFor(() => !f.networks.status().ready);
  mkdirSync(f.confDir);
  f.put("{");
  await waitFor(() => f.networks.status().message.includes("(not usable: "));
  f.put(lists());
  await waitFor(() => f.networks.status().ready);
});

test("without a working watch, a later call of status notices changes", async () => {
  let nowMs = 0;
  using f = setUp({ bridge, portmap }, null, { nowMs: () => nowMs });
  await f.networks.start();
  f.networks.close(); // the watch
  f.put(lists());
  assert.equal(f.networks.status().ready, false);
  nowMs = 5000;
  await waitFor(() => f.networks.status().ready);
});

test("a pod is attached even before the watch has reported the new configuration", async () => {
  using f = setUp({ bridge, portmap }, null);
  await f.networks.start();
  f.put(lists());
  assert.deepEqual((await f.networks.attach(pod, never)).ips, ["10.1.0.5"]);
});

test("status reports a missing plugin, and a missing IPAM plugin of another one", async () => {
  using f = setUp({ bridge }, lists());
  await f.networks.start();
  assert.match(f.networks.status().message, /^network podnet: plugin portmap: there is no such binary in /);
  using g = setUp(
    { bridge },
    { cniVersion: "1.0.0", name: "podnet", plugins: [{ type: "bridge", ipam: { type: "host-local" } }] },
  );
  await g.networks.start();
  assert.match(g.networks.status().message, /^network podnet: plugin host-local: there is no such binary in /);
});

test("each problem is logged once", async () => {
  let nowMs = 0;
  using f = setUp({ bridge }, null, { nowMs: () => nowMs });
  f.put("{");
  await f.networks.start();
  const count = f.logged.length;
  assert.ok(count > 0);
  for (let i = 0; i < 3; i++) {
    nowMs += 10_000;
    f.networks.status();
    await assert.rejects(f.networks.attach(pod, never));
  }
  assert.equal(f.logged.length, count);
});

test("a list of CNI 1.1 is ready when its plugins say so, and a plugin that hangs does not delay status", async () => {
  let nowMs = 0;
  let answerStatus: (exit: { code?: number; stdout?: string }) => void = () => {};
  const slow: FakePlugin = (call) =>
    call.command === "STATUS" ? new Promise((resolve) => (answerStatus = resolve)) : bridge(call);
  using f = setUp({ bridge: slow, portmap }, lists("1.1.0"), { nowMs: () => nowMs });
  await f.networks.start();
  assert.match(f.networks.status().message, /network podnet: its plugins have not answered yet/);
  await waitFor(() => f.calls.length === 1);
  answerStatus({});
  await waitFor(() => f.networks.status().ready);
  nowMs += 5000;
  assert.deepEqual(f.networks.status(), ready); // the known status, while it is being renewed
  await waitFor(() => f.story().filter((call) => call === "bridge STATUS").length === 2);
  nowMs += 5000;
  f.networks.status(); // does not run STATUS again while it is running
  answerStatus({ code: 1, stdout: '{"code":50,"msg":"no addresses left"}' });
  const { message } = await waitFor(() => (f.networks.status().ready ? undefined : f.networks.status()));
  assert.equal(message, "network podnet: plugin bridge: STATUS: no addresses left (CNI error 50)");
});

test("attachments of pods that no longer exist are removed, and the plugins get a list of the others", async () => {
  using f = setUp(undefined, lists("1.1.0"));
  await f.networks.start();
  await f.networks.attach(pod, never);
  await f.networks.attach({ ...pod, id: "dead".padEnd(64, "0") }, never);
  const before = f.calls.length;
  await f.networks.collectGarbage(new Set([id]), never);
  const calls = f.calls.slice(before).filter((call) => call.command !== "STATUS");
  assert.deepEqual(
    calls.map(({ type, command }) => `${type} ${command}`),
    ["portmap DEL", "bridge DEL", "bridge GC", "portmap GC"],
  );
  assert.match(calls[0]?.env["CNI_CONTAINERID"] ?? "", /^dead/);
  assert.deepEqual(calls[2]?.config["cni.dev/valid-attachments"], [{ containerID: id, ifname: "eth0" }]);
  writeFileSync(join(f.dir, "cache/results", "podnet-x-eth0"), "{");
  await f.networks.collectGarbage(new Set([id]), never);
  assert.equal(f.calls.filter((call) => call.command === "GC").length, 2, "no GC while a file is damaged");
});

test("a handler's pods get the network of the handler's directory, and each network's garbage is collected separately", async () => {
  using f = setUp({ bridge, portmap, macvlan: bridge }, lists("1.1.0"));
  const other = join(f.dir, "other.d");
  mkdirSync(other);
  writeFileSync(
    join(other, "1.conflist"),
    JSON.stringify({ cniVersion: "1.1.0", name: "othernet", plugins: [{ type: "macvlan" }] }),
  );
  using networks = closing(
    new CniNetwork({
      log: silentLog,
      confDir: f.confDir,
      otherConfDirs: [other, f.confDir],
      binDirs: f.deps.binDirs,
      cacheDir: join(f.dir, "cache"),
      exec: f.deps.exec,
    }),
  );
  await networks.start();
  const second = { ...pod, id: "4".repeat(64), confDir: other };
  await networks.attach(pod, never);
  await networks.attach(second, never);
  assert.deepEqual(
    f.story().filter((line) => line.endsWith("ADD")),
    ["bridge ADD", "portmap ADD", "macvlan ADD"],
  );
  await networks.collectGarbage(new Set([pod.id, second.id]), never);
  const kept = f.calls
    .filter((call) => call.env["CNI_COMMAND"] === "GC")
    .map((call) => [call.config["type"], (call.config["cni.dev/valid-attachments"] as object[]).length]);
  assert.deepEqual(kept, [
    ["bridge", 1],
    ["portmap", 1],
    ["macvlan", 1],
  ]);
  await networks.detach(second, never);
  assert.equal(f.story().at(-1), "macvlan DEL");
});

test("when a handler's directory has no network, the error names it, and the default network is still ready", async () => {
  using f = setUp();
  using networks = closing(
    new CniNetwork({
      log: silentLog,
      confDir: f.confDir,
      otherConfDirs: ["/nonexistent/net.d"],
      binDirs: f.deps.binDirs,
      cacheDir: join(f.dir, "cache"),
      exec: f.deps.exec,
    }),
  );
  await networks.start();
  await assert.rejects(
    networks.attach({ ...pod, confDir: "/nonexistent/net.d" }, never),
    /no CNI network configuration in \/nonexistent\/net\.d/,
  );
  assert.deepEqual(networks.status(), ready);
});
