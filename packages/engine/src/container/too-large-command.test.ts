import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { execSync } from "../calls/exec-sync.ts";
import { exec } from "../streams/exec.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";

const tooLong = "x".repeat(131_072);
const { signal } = new AbortController();

function refusal(text: RegExp) {
  return (error: unknown) =>
    error instanceof StatusError && error.code === Code.FailedPrecondition && text.test(error.message);
}

function newNode(t: TestContext) {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  return { node, client: clientOf(node) };
}

test("a container with too large a variable has ended before the runtime is asked, and says why", async (t) => {
  const { node, client } = newNode(t);
  const podId = await client.runPod();
  const id = await client.createContainer(podId, {
    command: ["app"],
    envs: [{ key: "BIG", value: Buffer.from(tooLong).toString("base64") }],
  });
  assert.ok(!node.effects.includes("runtime create"), node.effects.join("\n"));
  const { state, exitCode, reason, message } = await client.containerStatus(id);
  assert.deepEqual([state, exitCode, reason], [ContainerState.CONTAINER_EXITED, 126, "StartError"]);
  assert.match(message, /^the command "app" cannot be executed: its variable "BIG" has 131076 bytes/);
  await assert.rejects(
    client.startContainer(id),
    refusal(/^start container \w+: the command "app" cannot be executed/),
  );
  await client.stopContainer(id);
  await client.removeContainer(id);
  assert.ok(!node.left().some((thing) => thing.includes(id)), node.left().join("\n"));
});

test("a command with too large an argument is not run in a container; the answer says why", async (t) => {
  const { node, client } = newNode(t);
  const containerId = await client.createContainer(await client.runPod());
  await client.startContainer(containerId);
  const before = node.effects.length;
  const cmd = ["echo", tooLong];
  await assert.rejects(
    execSync(node.deps, { containerId, cmd, timeout: 0n }, signal),
    refusal(/^exec in container \w+: the command "echo" cannot be executed: its argument 1/),
  );
  const choice = { stdin: false, stdout: true, stderr: true, tty: false };
  const outcome = await exec(
    node.deps,
    { is: "exec", containerId, command: cmd, choice },
    { size: undefined, started: () => assert.fail("it must not run") },
    signal,
  );
  assert.ok(outcome.is === "not run");
  assert.equal(outcome.exitCode, 126);
  assert.match(outcome.message, /^the command "echo" cannot be executed: its argument 1 has 131072 bytes/);
  assert.deepEqual(node.effects.slice(before), []);
});
