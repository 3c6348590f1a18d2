import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { AuthConfig, ImageSpec } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Handlers } from "@keelson/cri/handlers.ts";
import type { PullRequest } from "@keelson/images/image-puller.ts";
import { clientOf, containerConfig, podConfig } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { createHandlers } from "./handlers.ts";

const signal = new AbortController().signal;

/** A node with a pod and a running container, and the calls as the server has them. */
async function newNode(t: TestContext) {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  const podId = await client.runPod();
  const containerId = await client.createContainer(podId);
  await client.startContainer(containerId);
  return { node, client, podId, containerId, calls: createHandlers(node.deps) as Required<Handlers> };
}

/** The call fails with this code and a text that says what is wrong, and it did nothing. */
async function refuses(node: FakeNode, call: Promise<unknown>, code: Code, text: RegExp): Promise<void> {
  const before = node.left();
  const effects = node.effects.length;
  const error = await call.then(
    () => assert.fail(`nothing was refused: ${text}`),
    (e: unknown) => e,
  );
  assert.ok(error instanceof StatusError, String(error));
  assert.equal(codeOf(error), code, messageOf(error));
  assert.match(messageOf(error), text);
  assert.deepEqual(node.left(), before);
  assert.equal(node.effects.length, effects);
}

test("a missing config, metadata or image names what is missing", async (t) => {
  const { node, podId, calls } = await newNode(t);
  const run = (config: ReturnType<typeof podConfig> | undefined) =>
    calls.runPodSandbox({ config, runtimeHandler: "" }, signal);
  const create = (config: ReturnType<typeof containerConfig> | undefined) =>
    calls.createContainer({ podSandboxId: podId, config, sandboxConfig: undefined }, signal);
  await refuses(node, run(undefined), Code.InvalidArgument, /config is missing/);
  await refuses(node, run({ ...podConfig(), metadata: undefined }), Code.InvalidArgument, /metadata/);
  await refuses(node, create(undefined), Code.InvalidArgument, /config is missing/);
  await refuses(node, create({ ...containerConfig(), metadata: undefined }), Code.InvalidArgument, /metadata/);
  await refuses(node, create({ ...containerConfig(), image: undefined }), Code.InvalidArgument, /image/);
  await refuses(node, create(containerConfig({ image: { image: "" } })), Code.InvalidArgument, /image/);
  await refuses(node, create(containerConfig({ image: { image: "nobody/has:this" } })), Code.NotFound, /pull it first/);
});

test("names that lead astray are refused", async (t) => {
  const { node, client, podId } = await newNode(t);
  for (const name of ["", "a/b", "a\nb", "a\0b", "x".repeat(300)]) {
    await refuses(
      node,
      client.runPod({ metadata: { name, namespace: "default", uid: "u2" } }),
      Code.InvalidArgument,
      /metadata\.name/,
    );
    await refuses(
      node,
      client.runPod({ metadata: { name: "p", namespace: "default", uid: name } }),
      Code.InvalidArgument,
      /metadata\.uid/,
    );
    await refuses(node, client.createContainer(podId, { metadata: { name } }), Code.InvalidArgument, /metadata\.name/);
  }
  await refuses(
    node,
    client.createContainer(podId, { metadata: { name: "c" }, log_path: "../../etc/passwd" }),
    Code.InvalidArgument,
    /log_path/,
  );
  await refuses(
    node,
    client.runPod({ metadata: { name: "p", namespace: "n", uid: "u2" }, linux: { cgroup_parent: "/../up" } }),
    Code.InvalidArgument,
    /cgroup_parent/,
  );
});

test("a handler that is not configured is named with those that are", async (t) => {
  const { node, client } = await newNode(t);
  await refuses(
    node,
    client.runPod({ metadata: { name: "p", namespace: "n", uid: "u2" } }, "wasm"),
    Code.InvalidArgument,
    /"wasm" is not configured; there are: crun, runc/,
  );
});

test("an empty id is a mistake in every call", async (t) => {
  const { node, calls } = await newNode(t);
  const pod = { podSandboxId: "" };
  const container = { containerId: "" };
  const empty: Promise<unknown>[] = [
    calls.stopPodSandbox(pod, signal),
    calls.removePodSandbox(pod, signal),
    calls.podSandboxStatus({ ...pod, verbose: false }, signal),
    calls.createContainer({ ...pod, config: containerConfig(), sandboxConfig: undefined }, signal),
    calls.startContainer(container, signal),
    calls.stopContainer({ ...container, timeout: 0n }, signal),
    calls.removeContainer(container, signal),
    calls.containerStatus({ ...container, verbose: false }, signal),
    calls.execSync({ ...container, cmd: ["true"], timeout: 0n }, signal),
    calls.exec({ ...container, cmd: ["true"], stdin: false, stdout: true, stderr: true, tty: false }, signal),
    calls.attach({ ...container, stdin: false, stdout: true, stderr: true, tty: false }, signal),
    calls.portForward({ ...pod, port: [] }, signal),
    calls.reopenContainerLog(container, signal),
  ];
  for (const call of empty) await refuses(node, call, Code.InvalidArgument, /_id is missing/);
});

test("an unknown id is NotFound where the call needs it", async (t) => {
  const { node, calls } = await newNode(t);
  const pod = { podSandboxId: "f".repeat(64) };
  const container = { containerId: "f".repeat(64) };
  const unknown: Promise<unknown>[] = [
    calls.podSandboxStatus({ ...pod, verbose: false }, signal),
    calls.createContainer({ ...pod, config: containerConfig(), sandboxConfig: undefined }, signal),
    calls.startContainer(container, signal),
    calls.containerStatus({ ...container, verbose: false }, signal),
    calls.execSync({ ...container, cmd: ["true"], timeout: 0n }, signal),
    calls.exec({ ...container, cmd: ["true"], stdin: false, stdout: true, stderr: true, tty: false }, signal),
    calls.attach({ ...container, stdin: false, stdout: true, stderr: true, tty: false }, signal),
    calls.portForward({ ...pod, port: [] }, signal),
    calls.reopenContainerLog(container, signal),
  ];
  for (const call of unknown) await refuses(node, call, Code.NotFound, /there is none with this id/);
});

test("negative timeouts are refused; huge ones are taken", async (t) => {
  const { node, containerId, calls } = await newNode(t);
  for (const timeout of [-1n, -(2n ** 63n)]) {
    await refuses(
      node,
      calls.stopContainer({ containerId, timeout }, signal),
      Code.InvalidArgument,
      /timeout must be 0 or more/,
    );
    await refuses(
      node,
      calls.execSync({ containerId, cmd: ["true"], timeout }, signal),
      Code.InvalidArgument,
      /timeout must be 0 or more/,
    );
  }
  assert.equal(
    (await calls.execSync({ containerId, cmd: ["echo", "hi"], timeout: 2n ** 63n - 1n }, signal)).stdout.toString(),
    "echo hi",
  );
  await calls.stopContainer({ containerId, timeout: 2n ** 63n - 1n }, signal);
});

test("exec and log rotation are for running containers, and exec needs a command", async (t) => {
  const { node, client, podId, containerId, calls } = await newNode(t);
  await refuses(
    node,
    calls.execSync({ containerId, cmd: [], timeout: 0n }, signal),
    Code.InvalidArgument,
    /cmd is empty/,
  );
  const created = await client.createContainer(podId, { metadata: { name: "other" } });
  await refuses(
    node,
    calls.execSync({ containerId: created, cmd: ["true"], timeout: 0n }, signal),
    Code.FailedPrecondition,
    /is created, not running/,
  );
  await refuses(
    node,
    calls.reopenContainerLog({ containerId: created }, signal),
    Code.FailedPrecondition,
    /is created, not running/,
  );
});

test("exec and attach need a stream, no stderr beside a terminal, and a container that runs; URLs name nothing of the request", async (t) => {
  const { node, client, podId, containerId, calls } = await newNode(t);
  const streams = { stdin: false, stdout: true, stderr: true, tty: false };
  for (const call of [
    (more: object, id = containerId) => calls.exec({ containerId: id, cmd: ["secret"], ...streams, ...more }, signal),
    (more: object, id = containerId) => calls.attach({ containerId: id, ...streams, ...more }, signal),
  ]) {
    await refuses(
      node,
      call({ stdout: false, stderr: false }),
      Code.InvalidArgument,
      /one of stdin, stdout and stderr/,
    );
    await refuses(node, call({ tty: true }), Code.InvalidArgument, /tty and stderr/);
    const created = await client.createContainer(podId, { metadata: { name: "other" } });
    await refuses(node, call({}, created), Code.FailedPrecondition, /is created, not running/);
    await client.removeContainer(created);
    const { url } = await call({});
    assert.ok(!url.includes("secret") && !url.includes(containerId));
  }
  await refuses(node, calls.exec({ containerId, ...streams, cmd: [] }, signal), Code.InvalidArgument, /cmd is missing/);
  await refuses(node, calls.exec({ containerId, ...streams, cmd: ["a\0b"] }, signal), Code.InvalidArgument, /cmd\[0\]/);
  await refuses(
    node,
    calls.attach({ containerId, ...streams, stderr: false, tty: true }, signal),
    Code.InvalidArgument,
    /created without a terminal/,
  );
  for (const port of [0, -1, 65536])
    await refuses(
      node,
      calls.portForward({ podSandboxId: podId, port: [80, port] }, signal),
      Code.InvalidArgument,
      /must be from 1 to 65535/,
    );
  await client.stopPod(podId);
  await refuses(
    node,
    calls.portForward({ podSandboxId: podId, port: [] }, signal),
    Code.FailedPrecondition,
    /not ready/,
  );
});

test("an exec that takes longer than its timeout is DeadlineExceeded; one whose client goes away is not", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "AbortSignal.timeout" as "setTimeout"] });
  const { node, containerId, calls } = await newNode(t);
  node.fate = (effect) => (effect === "runtime exec" ? "hangs" : "works");
  const late = calls.execSync({ containerId, cmd: ["sleep", "9"], timeout: 5n }, signal);
  t.mock.timers.tick(5000);
  await assert.rejects(
    late,
    (e: unknown) =>
      e instanceof StatusError && e.code === Code.DeadlineExceeded && /sleep did not end within 5 s/.test(e.message),
  );
  const abort = new AbortController();
  const left = calls.execSync({ containerId, cmd: ["sleep", "9"], timeout: 5n }, abort.signal);
  abort.abort(new DOMException("the client went away", "AbortError"));
  await assert.rejects(left, (e: unknown) => codeOf(e) === Code.Cancelled);
});

test("a container that joins the processes of another needs that one, running and in its pod", async (t) => {
  const { node, client, podId, containerId } = await newNode(t);
  const target = (id: string) => ({
    metadata: { name: "debug" },
    linux: { security_context: { namespace_options: { pid: "TARGET", target_id: id } } },
  });
  const elsewhere = await client.runPod({ metadata: { name: "p", namespace: "n", uid: "u2" } });
  const before = node.left();
  const notRunning = await client.createContainer(elsewhere);
  await assert.rejects(
    client.createContainer(podId, target("f".repeat(64))),
    (e: unknown) => codeOf(e) === Code.NotFound,
  );
  await assert.rejects(
    client.createContainer(podId, target(notRunning)),
    (e: unknown) => codeOf(e) === Code.InvalidArgument && /another pod/.test(messageOf(e)),
  );
  await assert.rejects(
    client.createContainer(elsewhere, target(notRunning)),
    (e: unknown) => codeOf(e) === Code.FailedPrecondition,
  );
  await client.removeContainer(notRunning);
  assert.deepEqual(
    node.left().filter((thing) => !thing.startsWith("cgroup")),
    before.filter((thing) => !thing.startsWith("cgroup")),
  );
  await client.createContainer(podId, target(containerId));
});

test("a mount source that cannot be made is InvalidArgument with its path, and leaves nothing", async (t) => {
  const { node, client, podId } = await newNode(t);
  const before = node.left();
  const config = {
    metadata: { name: "other" },
    mounts: [{ host_path: "/proc/self/nothing/here", container_path: "/x" }],
  };
  await assert.rejects(
    client.createContainer(podId, config),
    (e: unknown) => codeOf(e) === Code.InvalidArgument && messageOf(e).includes("/proc/self/nothing/here"),
  );
  assert.deepEqual(node.left(), before);
  await client.createContainer(podId, { metadata: { name: "other" } });
});

test("logins come from user and password, from auth in base64, or there are none", async (t) => {
  const { node } = await newNode(t);
  const pulls: PullRequest[] = [];
  const image = [...node.images.values()][0]!;
  const puller: typeof node.deps.puller = {
    pull: (request) => (pulls.push(request), Promise.resolve(image)),
    pullsInProgress: () => [],
    receivedBytes: 0,
  };
  const { pullImage } = createHandlers({ ...node.deps, puller }) as Required<Handlers>;
  const pull = (auth?: Partial<AuthConfig>) =>
    pullImage(
      {
        image: ImageSpec.fromPartial({ image: "busybox" }),
        auth: auth === undefined ? undefined : AuthConfig.fromPartial(auth),
        sandboxConfig: undefined,
      },
      signal,
    );
  const base64 = (text: string) => Buffer.from(text).toString("base64");

  assert.equal((await pull()).imageRef, image.id);
  assert.equal(pulls.at(-1)!.credentials, undefined);
  await pull({});
  assert.equal(pulls.at(-1)!.credentials, undefined);
  await pull({ username: "u", password: "p" });
  assert.deepEqual([pulls.at(-1)!.credentials?.username, pulls.at(-1)!.credentials?.password], ["u", "p"]);
  await pull({ auth: base64("u:p:with:colons\0\0") });
  assert.deepEqual([pulls.at(-1)!.credentials?.username, pulls.at(-1)!.credentials?.password], ["u", "p:with:colons"]);
  await pull({ identityToken: "t" });
  assert.equal(pulls.at(-1)!.credentials?.identityToken, "t");

  const secret = base64("no-colon-in-this-secret");
  for (const auth of [secret, "%%%", "=", "dTpw!"]) {
    await refuses(node, pull({ auth }), Code.InvalidArgument, /auth\.auth must be base64/);
    await pull({ auth }).catch((e: unknown) =>
      assert.ok(!messageOf(e).includes(auth) && !messageOf(e).includes("secret"), "a secret in an error"),
    );
  }
  await refuses(
    node,
    pullImage({ image: undefined, auth: undefined, sandboxConfig: undefined }, signal),
    Code.InvalidArgument,
    /image\.image is missing/,
  );
});
