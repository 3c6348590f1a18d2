import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import { Image, PodSandbox, StatusResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Handlers } from "@keelson/cri/handlers.ts";
import { Interrupt } from "../io.ts";
import { ago, type FakeRuntime, startFakeRuntime } from "../testing/fake-runtime.ts";

const features = { recursiveReadOnlyMounts: true, userNamespaces: true };
const none = { recursiveReadOnlyMounts: false, userNamespaces: false };
const keelsond = StatusResponse.fromPartial({
  runtimeHandlers: [
    { name: "", features },
    { name: "crun", features },
    { name: "runsc", features: none },
  ],
  info: {
    runtimes: JSON.stringify({
      crun: {
        name: "crun",
        type: "oci",
        path: "/usr/bin/crun",
        version: "1.8.1",
        default: true,
        sandbox: "none",
        features,
        problem: "",
      },
      runsc: {
        name: "runsc",
        type: "oci",
        path: "/usr/bin/runsc",
        version: "0.0~2024",
        default: false,
        sandbox: "container",
        features: none,
        overhead: { memory: "60Mi" },
        problem: "",
      },
      kata: {
        name: "kata",
        type: "shim",
        path: "containerd-shim-kata-v2",
        version: "",
        default: false,
        problem: "its binary is not there",
      },
    }),
  },
});
const containerd = StatusResponse.fromPartial({
  info: {
    config: JSON.stringify({
      containerd: {
        defaultRuntimeName: "runc",
        runtimes: {
          runc: { runtimeType: "io.containerd.runc.v2", options: { BinaryName: "/usr/sbin/runc" } },
          kata: { runtimeType: "io.containerd.kata.v2", options: null, runtimePath: "/opt/kata/shim" },
        },
      },
    }),
  },
});
const uname: Handlers = {
  execSync: () => Promise.resolve({ stdout: Buffer.from("Linux 6.1.0\n"), stderr: Buffer.alloc(0), exitCode: 0 }),
};

async function withStatus(t: TestContext, response: StatusResponse, handlers: Handlers = {}): Promise<FakeRuntime> {
  const fake = await startFakeRuntime(t, { status: () => Promise.resolve(response), ...uname, ...handlers });
  fake.images.push(Image.fromPartial({ id: `sha256:${"a".repeat(64)}`, repoTags: ["registry.local/busybox:1"] }));
  return fake;
}

const rowsOf = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => line.split(/ {3,}/));
/** Times are different each time. */
const withoutTimes = (text: string) => text.replaceAll(/\d+ ms/g, "N ms");

test("keelsond's handlers with all their details, the default first, and those with a problem", async (t) => {
  const fake = await withStatus(t, keelsond);
  assert.deepEqual(rowsOf((await fake.keelctl("runtimes")).out), [
    ["HANDLER", "TYPE", "VERSION", "FEATURES", "PATH", "PROBLEM"],
    ["crun (default)", "oci", "1.8.1", "userns,rro", "/usr/bin/crun", "-"],
    ["kata", "shim", "-", "-", "containerd-shim-kata-v2", "its binary is not there"],
    ["runsc", "oci", "0.0~2024", "sandbox", "/usr/bin/runsc", "-"],
  ]);
  assert.equal((await fake.keelctl("runtimes", "-q")).out, "crun\nkata\nrunsc\n");
  const { runtimes } = JSON.parse((await fake.keelctl("runtimes", "runsc", "-o", "json")).out) as {
    runtimes: object[];
  };
  assert.deepEqual(runtimes, [
    {
      name: "runsc",
      default: false,
      type: "oci",
      path: "/usr/bin/runsc",
      version: "0.0~2024",
      sandbox: "container",
      features: none,
      overhead: { memory: "60Mi" },
      problem: "",
    },
  ]);
  assert.match(
    (await fake.keelctl("runtimes", "-o", "yaml")).out,
    /^runtimes:\n- default: true\n {2}features:\n {4}recursiveReadOnlyMounts: true\n/,
  );
  assert.equal(
    (await fake.keelctl("runtimes", "kat")).err,
    "keelctl: there is no runtime handler kat; there are: crun, kata, runsc\n",
  );
});

test("for containerd what its configuration says, for others the names; garbage is ignored", async (t) => {
  assert.deepEqual(rowsOf((await (await withStatus(t, containerd)).keelctl("runtimes")).out).slice(1), [
    ["runc (default)", "io.containerd.runc.v2", "-", "-", "/usr/sbin/runc", "-"],
    ["kata", "io.containerd.kata.v2", "-", "-", "/opt/kata/shim", "-"],
  ]);
  const other = StatusResponse.fromPartial({
    runtimeHandlers: [{ name: "" }, { name: "crun", features: { userNamespaces: true } }],
    info: { runtimes: "[{", config: '{"containerd": {"runtimes": 3}}' },
  });
  assert.deepEqual(rowsOf((await (await withStatus(t, other)).keelctl("runtimes")).out).slice(1), [
    ["(default)", "-", "-", "-", "-", "-"],
    ["crun", "-", "-", "userns", "-", "-"],
  ]);
});

test("--check runs a pod by each, with a busybox that the runtime has, reports how it went and leaves nothing", async (t) => {
  const fake = await withStatus(t, keelsond);
  const { code, out } = await fake.keelctl("runtimes", "--check");
  assert.equal(code, 1, "kata cannot run");
  const ok = "ok: pod N ms, container N ms, exec N ms; its kernel is Linux 6.1.0";
  assert.deepEqual(withoutTimes(out).trim().split("\n").slice(-3), [
    `crun: ${ok}`,
    "kata: FAILED: its binary is not there",
    `runsc: ${ok}`,
  ]);
  assert.deepEqual([fake.pods, fake.images.length], [[], 1]);
  assert.ok(!fake.calls.some(({ name }) => name === "pullImage"));
  assert.equal((await fake.keelctl("runtimes", "crun", "--check")).code, 0);
  const { runtimes } = JSON.parse((await fake.keelctl("runtimes", "crun", "--check", "-o", "json")).out) as {
    runtimes: { check: { ok: boolean; kernel: string } }[];
  };
  assert.deepEqual([runtimes[0]!.check.ok, runtimes[0]!.check.kernel], [true, "Linux 6.1.0"]);
});

test("an image that the runtime does not have is pulled and removed again", async (t) => {
  const fake = await withStatus(t, keelsond);
  assert.equal((await fake.keelctl("runtimes", "crun", "--check", "--image", "other/tools:1")).code, 0);
  assert.deepEqual(
    fake.calls.filter(({ name }) => name.endsWith("Image")).map(({ name }) => name),
    ["pullImage", "removeImage"],
  );
  assert.deepEqual(
    fake.images.map((image) => image.repoTags),
    [["registry.local/busybox:1"]],
  );
  const offline = await withStatus(t, keelsond, {
    pullImage: () => Promise.reject(new StatusError(Code.Unavailable, "no route")),
  });
  offline.images = [];
  const { code, err } = await offline.keelctl("runtimes", "--check");
  assert.equal(code, 1);
  assert.match(
    err,
    /pull docker\.io\/library\/busybox:1\.36 for the check \(name an image that the runtime has with --image; it needs sleep and uname\): no route/,
  );
});

test("whatever step fails, it is named and nothing is left", async (t) => {
  const refuse = () => Promise.reject(new StatusError(Code.Internal, "broken"));
  for (const [step, handlers] of [
    ["run the pod", { runPodSandbox: refuse }],
    ["create the container", { createContainer: refuse }],
    ["start the container", { startContainer: refuse }],
    ["run a command in it", { execSync: refuse }],
    ["stop the container", { stopContainer: refuse }],
  ] as const) {
    const fake = await withStatus(t, keelsond, handlers);
    const { code, out } = await fake.keelctl("runtimes", "crun", "--check");
    assert.deepEqual(
      [code, out.trim().split("\n").at(-1), fake.pods],
      [1, `crun: FAILED: ${step}: broken (Internal)`, []],
    );
  }
  const without = await withStatus(t, keelsond, {
    execSync: () => Promise.resolve({ stdout: Buffer.alloc(0), stderr: Buffer.from("no uname"), exitCode: 127 }),
  });
  assert.match(
    (await without.keelctl("runtimes", "crun", "--check")).out,
    /crun: FAILED: run a command in it: uname exited with 127: no uname\n$/,
  );
  assert.deepEqual(without.pods, []);
  const noKvm = await withStatus(t, keelsond, {
    runPodSandbox: () =>
      Promise.reject(new StatusError(Code.Internal, "start the shim kata: open /dev/kvm: no such file")),
  });
  assert.match(
    (await noKvm.keelctl("runtimes", "crun", "--check")).out,
    /crun: FAILED: run the pod: start the shim kata: .*; likely this machine has no usable \/dev\/kvm: .*kvm_intel/,
  );
  const { runtimes } = JSON.parse((await noKvm.keelctl("runtimes", "crun", "--check", "-o", "json")).out) as {
    runtimes: { check: { likelyCause: string } }[];
  };
  assert.match(runtimes[0]!.check.likelyCause, /^this machine has no usable/);
});

test("an interrupt while the pod comes up waits for it, removes it and exits with the signal's code", async (t) => {
  const interrupt = new AbortController();
  const fake: FakeRuntime = await withStatus(t, keelsond, {
    runPodSandbox: async ({ config }) => {
      interrupt.abort(new Interrupt(130));
      await setImmediate();
      fake.pods.push(PodSandbox.fromPartial({ id: "late", metadata: config!.metadata!, labels: config!.labels }));
      return { podSandboxId: "late" };
    },
  });
  const { code, err } = await fake.keelctlWith({ signal: interrupt.signal }, "runtimes", "--check");
  assert.equal(code, 130);
  assert.match(err, /removing what the check has created; interrupt again to leave it/);
  assert.deepEqual(fake.pods, []);
  assert.deepEqual(fake.calls.filter(({ name }) => name === "runPodSandbox").length, 1);
});

test("what a check that was killed has left is removed by the next one; other pods stay", async (t) => {
  const fake = await withStatus(t, keelsond);
  const labels = { "keelctl.check": "x" };
  fake.pods = [
    PodSandbox.fromPartial({ id: "old", labels, createdAt: ago(3600) }),
    PodSandbox.fromPartial({ id: "another-check", labels, createdAt: ago(10) }),
    PodSandbox.fromPartial({ id: "user", createdAt: ago(3600) }),
  ];
  assert.equal((await fake.keelctl("runtimes", "crun", "--check")).code, 0);
  assert.deepEqual(
    fake.pods.map((pod) => pod.id),
    ["another-check", "user"],
  );
});

test("without any known handler, the default one is checked", async (t) => {
  const fake = await withStatus(t, StatusResponse.fromPartial({}));
  assert.match((await fake.keelctl("runtimes", "--check")).out, /\n\(default\): ok: /);
});
