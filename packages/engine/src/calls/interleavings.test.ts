import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, codeOf, messageOf } from "@keelson/base/status.ts";
import { ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import * as fc from "fast-check";
import { recover } from "../recovery/recovery.ts";
import { type Client, clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";

type Call =
  | "run"
  | "stop pod"
  | "remove pod"
  | "create"
  | "start"
  | "stop"
  | "remove"
  | "exit"
  | "kill monitor"
  | "kill init"
  | "list";

interface Step {
  call: Call;
  /** Which of a few pods, and which of its containers. */
  pod: number;
  container: number;
  /** Configs of one name that differ. */
  variant: number;
  graceSeconds: number;
}

const step = fc.record<Step>({
  call: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom<Call>("run", "create", "create", "start") },
    {
      weight: 4,
      arbitrary: fc.constantFrom<Call>(
        "stop",
        "remove",
        "stop pod",
        "remove pod",
        "exit",
        "kill monitor",
        "kill init",
        "list",
      ),
    },
  ),
  pod: fc.nat(1),
  container: fc.nat(1),
  variant: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(1) }),
  graceSeconds: fc.nat(2),
});

/** What several clients do at once, how long each effect takes, and which effects fail. */
const history = fc.record({
  clients: fc.array(fc.array(step, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 8 }),
  turns: fc.array(fc.nat(4), { minLength: 1, maxLength: 12 }),
  faults: fc.uniqueArray(fc.nat(250), { maxLength: 8 }),
  halfDone: fc.boolean(),
  heedsSignals: fc.boolean(),
  restarts: fc.boolean(),
});

/** What clients have seen so far. Everything they see later must be consistent with it. */
class Observer {
  readonly #ranks = new Map<string, number>();
  readonly #gone = new Set<string>();
  readonly #node: FakeNode;
  /** The newest ids by pod and by pod and container. */
  readonly ids = new Map<string, string>();

  constructor(node: FakeNode) {
    this.#node = node;
  }

  async look(client: Client): Promise<void> {
    const [pods, containers] = await Promise.all([client.listPods(), client.listContainers()]);
    this.#follow(
      pods.map((p) => ({ id: p.id, rank: p.state === PodSandboxState.SANDBOX_READY ? 0 : 1 })),
      "pod ",
    );
    this.#follow(
      containers.map((c) => ({
        id: c.id,
        rank: [
          ContainerState.CONTAINER_CREATED,
          ContainerState.CONTAINER_RUNNING,
          ContainerState.CONTAINER_EXITED,
        ].indexOf(c.state as 0),
      })),
      "container ",
    );
    for (const c of containers)
      assert.ok(this.#node.deps.pods.get(c.podSandboxId) !== undefined, `container ${c.id} is in a pod that is gone`);
    for (const records of [this.#node.deps.pods.all(), this.#node.deps.containers.all()]) {
      assert.equal(new Set(records.map((r) => r.name)).size, records.length, "two records of one name");
    }
    assert.deepEqual(this.#node.violations, []);
  }

  #follow(seen: { id: string; rank: number }[], kind: string): void {
    const now = new Set(seen.map(({ id }) => kind + id));
    for (const key of this.#ranks.keys()) if (key.startsWith(kind) && !now.has(key)) this.#gone.add(key);
    for (const { id, rank } of seen) {
      const key = kind + id;
      assert.ok(!this.#gone.has(key), `${key} came back`);
      assert.ok(rank >= (this.#ranks.get(key) ?? 0), `the state of ${key} went back`);
      this.#ranks.set(key, rank);
    }
  }
}

async function take(
  node: FakeNode,
  client: Client,
  seen: Observer,
  { call, pod, container, variant, graceSeconds }: Step,
): Promise<void> {
  const podId = seen.ids.get(`${pod}`) ?? "f".repeat(64);
  const containerId = seen.ids.get(`${pod}/${container}`) ?? "f".repeat(64);
  const labels = { labels: { variant: `${variant}` } };
  switch (call) {
    case "run": {
      const pid = pod === 0 ? "POD" : "CONTAINER";
      const linux = { security_context: { namespace_options: { pid } } };
      seen.ids.set(
        `${pod}`,
        await client.runPod({ metadata: { name: `pod${pod}`, namespace: "default", uid: "u" }, linux, ...labels }),
      );
      return;
    }
    case "create":
      seen.ids.set(
        `${pod}/${container}`,
        await client.createContainer(podId, { metadata: { name: `c${container}` }, ...labels }),
      );
      return;
    case "start":
      return void (await client.startContainer(containerId));
    case "stop":
      return void (await client.stopContainer(containerId, BigInt(graceSeconds)));
    case "remove":
      return void (await client.removeContainer(containerId));
    case "stop pod":
      return void (await client.stopPod(podId));
    case "remove pod":
      return void (await client.removePod(podId));
    case "exit":
      return node.exit(containerId, 3);
    case "kill monitor":
      return node.killMonitor(containerId);
    case "kill init":
      return node.killInit(podId);
    case "list":
      return seen.look(client);
  }
}

const expectedCodes: ReadonlySet<number> = new Set([
  Code.NotFound,
  Code.AlreadyExists,
  Code.FailedPrecondition,
  Code.DeadlineExceeded,
]);

async function play(node: FakeNode, client: Client, seen: Observer, steps: readonly Step[]): Promise<void> {
  for (const each of steps) {
    try {
      await take(node, client, seen, each);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      const message = messageOf(error);
      // An error that was not injected must be a known one; a stop, which takes no lock, may have overtaken a start.
      assert.ok(
        expectedCodes.has(codeOf(error)) || /injected fault|cannot start/.test(message),
        `${each.call}: ${message}`,
      );
    }
    await seen.look(client);
  }
}

async function removeAll(node: FakeNode, client: Client): Promise<void> {
  for (const { id } of node.deps.pods.all()) await client.removePod(id);
  await node.quiet();
}

const seed = Number(process.env["KEELSON_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

test("whatever clients do at once and whatever fails, states only go forward and nothing is left in the end", async (t) => {
  t.diagnostic(`KEELSON_SEED=${seed}`);
  mockTime(t.mock);
  const property = fc.asyncProperty(history, async ({ clients, turns, faults, halfDone, heedsSignals, restarts }) => {
    using node = new FakeNode();
    const failing = new Set(faults);
    let at = 0;
    node.turns = () => turns[(at += 1) % turns.length]!;
    node.fate = (_, index) => (failing.has(index) ? (halfDone ? "done and fails" : "fails") : "works");
    node.endsBy = () => heedsSignals;
    const seen = new Observer(node);
    const client = clientOf(node);
    await passTime(t.mock.timers, Promise.all(clients.map((steps) => play(node, client, seen, steps))));
    node.fate = () => "works";
    if (restarts) await passTime(t.mock.timers, recover(node.restart()));
    await passTime(t.mock.timers, removeAll(node, client));
    await seen.look(client);
    assert.deepEqual(node.left(), []);
    for (const calls of [node.deps.creations, node.deps.stops, node.deps.takedowns])
      assert.deepEqual([...calls.running()], []);
    assert.equal(node.deps.podLock.size, 0);
  });
  await fc.assert(property, { seed, numRuns: 150 });
});
