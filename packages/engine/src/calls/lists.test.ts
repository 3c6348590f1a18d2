import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type ContainerFilter, ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { type Client, clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";
import { createHandlers } from "./handlers.ts";

function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  return { node, client: clientOf(node) };
}

const pod = (name: string, over: object = {}) => ({ metadata: { name, namespace: "default", uid: name }, ...over });
const ids = (items: { id: string }[]) => items.map(({ id }) => id).sort();

/** All lists and statuses, within one turn of the event loop: none of them waits for anything. */
async function answersAtOnce(client: Client, podId: string, containerId: string): Promise<void> {
  let isDone = false;
  const all = Promise.all([
    client.listPods(),
    client.listContainers(),
    client.podStatus(podId),
    client.containerStatus(containerId),
  ]).then(() => (isDone = true));
  const turn = Promise.withResolvers<void>();
  setImmediate(turn.resolve);
  await turn.promise;
  assert.ok(isDone, "a list or status waited");
  await all;
}

test("lists and statuses answer at once while calls on the same pod hang", async (t) => {
  const { node, client } = newNode(t);
  const podId = await client.runPod();
  const created = await client.createContainer(podId);
  const running = await client.createContainer(podId, { metadata: { name: "other" } });
  await client.startContainer(running);
  const hanging: Record<string, () => Promise<unknown>> = {
    "pod-host create": () => client.runPod(pod("second")),
    "runtime create": () => client.createContainer(podId, { metadata: { name: "third" } }),
    "runtime start": () => client.startContainer(created),
    "container-host kill": () => client.stopContainer(running),
    "network detach": () => client.stopPod(podId),
  };
  for (const [effect, call] of Object.entries(hanging)) {
    node.fate = (name) => (name === effect ? "hangs" : "works");
    const hung = call();
    await node.quiet();
    await answersAtOnce(client, podId, running);
    node.fate = () => "works";
    node.release();
    await passTime(t.mock.timers, hung);
  }
});

test("what is still being created is not shown by any list or status", async (t) => {
  const { node, client } = newNode(t);
  const home = await client.runPod(pod("home"));
  node.fate = (effect) => (effect === "network attach" || effect === "runtime create" ? "hangs" : "works");
  const runs = client.runPod(pod("second"));
  const creates = client.createContainer(home);
  await node.quiet();
  assert.deepEqual(ids(await client.listPods()), [home]);
  assert.deepEqual(await client.listContainers(), []);
  const [makingPod] = node.deps.pods.all().filter((p) => p.state.is === "creating");
  const [making] = node.deps.containers.all();
  const notFound = (error: unknown) => error instanceof StatusError && error.code === Code.NotFound;
  await assert.rejects(client.podStatus(makingPod!.id), notFound);
  await assert.rejects(client.containerStatus(making!.id), notFound);
  await assert.rejects(client.startContainer(making!.id), notFound);
  await assert.rejects(client.createContainer(makingPod!.id), notFound);
  node.release();
  assert.deepEqual(ids(await client.listPods()).length, 1);
  await Promise.all([runs, creates]);
  assert.equal((await client.listPods()).length, 2);
  assert.equal((await client.listContainers()).length, 1);
});

test("pods are filtered by id or its beginning, state and labels, all of which must fit", async (t) => {
  const { client } = newNode(t);
  const a = await client.runPod(pod("a", { labels: { app: "web", tier: "front" } }));
  const b = await client.runPod(pod("b", { labels: { app: "web" } }));
  await passTime(t.mock.timers, client.stopPod(b));
  const list = async (filter: object) => ids(await client.listPods(filter));
  assert.deepEqual(await list({}), [a, b]);
  assert.deepEqual(await list({ id: a }), [a]);
  assert.deepEqual(await list({ id: a.slice(0, 8) }), [a]);
  assert.deepEqual(await list({ id: "0000" }), [], "an ambiguous beginning is nobody's");
  assert.deepEqual(await list({ id: "fff" }), []);
  assert.deepEqual(await list({ state: { state: PodSandboxState.SANDBOX_READY } }), [a]);
  assert.deepEqual(await list({ state: { state: PodSandboxState.SANDBOX_NOTREADY } }), [b]);
  assert.deepEqual(await list({ labelSelector: { app: "web" } }), [a, b]);
  assert.deepEqual(await list({ labelSelector: { app: "web", tier: "front" } }), [a]);
  assert.deepEqual(await list({ labelSelector: { app: "" } }), []);
  assert.deepEqual(await list({ labelSelector: { toString: "x" } }), []);
  assert.deepEqual(await list({ id: b, state: { state: PodSandboxState.SANDBOX_READY } }), []);
});

test("containers are filtered by id, pod, state and labels", async (t) => {
  const { client } = newNode(t);
  const podA = await client.runPod(pod("a"));
  const podB = await client.runPod(pod("b"));
  const created = await client.createContainer(podA, { labels: { app: "web" } });
  const running = await client.createContainer(podA, { metadata: { name: "two" } });
  const exited = await client.createContainer(podB, { labels: { app: "web" } });
  await client.startContainer(running);
  await client.startContainer(exited);
  await passTime(t.mock.timers, client.stopContainer(exited));
  const list = async (filter: object) => ids(await client.listContainers(filter));
  assert.deepEqual(await list({}), [created, running, exited].sort());
  assert.deepEqual(await list({ id: running.slice(0, 8) }), [running]);
  assert.deepEqual(await list({ podSandboxId: podB }), [exited]);
  assert.deepEqual(await list({ podSandboxId: podA.slice(0, 8) }), [created, running].sort());
  assert.deepEqual(await list({ podSandboxId: "0000" }), []);
  assert.deepEqual(await list({ state: { state: ContainerState.CONTAINER_CREATED } }), [created]);
  assert.deepEqual(await list({ state: { state: ContainerState.CONTAINER_RUNNING } }), [running]);
  assert.deepEqual(await list({ state: { state: ContainerState.CONTAINER_EXITED } }), [exited]);
  assert.deepEqual(await list({ labelSelector: { app: "web" } }), [created, exited].sort());
  assert.deepEqual(await list({ labelSelector: { app: "web" }, podSandboxId: podA }), [created]);
});

test("a status takes the beginning of an id, and says so when several ids begin like it", async (t) => {
  const { client } = newNode(t);
  const a = await client.runPod(pod("a"));
  await client.runPod(pod("b"));
  assert.equal((await client.podStatus(a.slice(0, 8))).id, a);
  const ambiguous = (error: unknown) =>
    error instanceof StatusError && error.code === Code.InvalidArgument && /more than one/.test(error.message);
  await assert.rejects(client.podStatus("0000"), ambiguous);
  await assert.rejects(client.stopPod("0000"), ambiguous);
  await assert.rejects(client.removePod("0000"), ambiguous);
  assert.equal((await client.listPods()).length, 2);
});

test("a pod's status has its addresses while it is ready, and none in the host's network", async (t) => {
  const { client } = newNode(t);
  const id = await client.runPod(pod("a"));
  assert.deepEqual((await client.podStatus(id)).network, { ip: "10.0.0.1", additionalIps: [] });
  const onHost = await client.runPod(
    pod("b", { linux: { security_context: { namespace_options: { network: "NODE" } } } }),
  );
  assert.deepEqual((await client.podStatus(onHost)).network, { ip: "", additionalIps: [] });
  await passTime(t.mock.timers, client.stopPod(id));
  assert.equal((await client.podStatus(id)).network?.ip, "");
});

test("a container's status tells how it went: times in order, exit code and reason", async (t) => {
  const { node, client } = newNode(t);
  const podId = await client.runPod();
  const ended = async (name: string, exitCode: number) => {
    const id = await client.createContainer(podId, { metadata: { name } });
    assert.equal((await client.containerStatus(id)).startedAt, 0n);
    await client.startContainer(id);
    assert.equal((await client.containerStatus(id)).finishedAt, 0n);
    node.exit(id, exitCode);
    await node.quiet();
    return client.containerStatus(id);
  };
  const good = await ended("good", 0);
  assert.deepEqual([good.state, good.exitCode, good.reason], [ContainerState.CONTAINER_EXITED, 0, "Completed"]);
  assert.ok(good.createdAt < good.startedAt && good.startedAt < good.finishedAt);
  const bad = await ended("bad", 3);
  assert.deepEqual([bad.exitCode, bad.reason], [3, "Error"]);
  node.oomKilled = true;
  const killed = await ended("killed", 137);
  assert.deepEqual([killed.exitCode, killed.reason], [137, "OOMKilled"]);
});

test("a container that ends before its start is answered has a start and an end", async (t) => {
  const { node, client } = newNode(t);
  node.exitsAtOnce = 7;
  node.turns = () => 3;
  const id = await client.createContainer(await client.runPod());
  await client.startContainer(id);
  await node.quiet();
  const status = await client.containerStatus(id);
  assert.deepEqual([status.state, status.exitCode], [ContainerState.CONTAINER_EXITED, 7]);
  assert.ok(status.startedAt > 0n && status.startedAt <= status.finishedAt);
});

test("a list of all is the same until something changes, and then has the change", async (t) => {
  const { node } = newNode(t);
  const client = clientOf(node);
  const calls = createHandlers(node.deps);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  const never = new AbortController().signal;
  const everything = { id: "", podSandboxId: "", state: undefined, labelSelector: {} };
  const containers = async (filter: ContainerFilter | undefined) =>
    (await calls.listContainers({ filter }, never)).containers;
  const pods = async () => (await calls.listPodSandbox({ filter: undefined }, never)).items;

  const created = await containers(undefined);
  assert.equal(await containers(everything), created);
  await client.startContainer(id);
  const running = await containers(undefined);
  assert.deepEqual(
    [created, running].map((list) => list.map(({ state }) => state)),
    [[ContainerState.CONTAINER_CREATED], [ContainerState.CONTAINER_RUNNING]],
  );
  assert.deepEqual(await containers({ ...everything, state: { state: ContainerState.CONTAINER_CREATED } }), []);
  assert.deepEqual(await containers({ ...everything, labelSelector: { no: "such" } }), []);
  const other = await client.createContainer(podId, { metadata: { name: "other" } });
  assert.deepEqual(ids(await containers(everything)), [id, other].sort());

  const ready = await pods();
  assert.equal(await pods(), ready);
  await passTime(t.mock.timers, client.stopPod(podId));
  assert.deepEqual(
    [ready, await pods()].map((list) => list.map(({ state }) => state)),
    [[PodSandboxState.SANDBOX_READY], [PodSandboxState.SANDBOX_NOTREADY]],
  );
});
