import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { messageOf } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { recover } from "../recovery/recovery.ts";
import { type Client, clientOf } from "../testing/fake-client.ts";
import type { Fate } from "../testing/fake-machine.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";

/** A call, and how to prepare a node for it. */
interface Scenario {
  prepare?: (client: Client) => Promise<string>;
  call: (client: Client, id: string) => Promise<unknown>;
  /** What the message of an error begins with, which names the call. */
  says: RegExp;
}

const sharedPid = { linux: { security_context: { namespace_options: { pid: "POD" } } } };
const ownPid = { linux: { security_context: { namespace_options: { pid: "CONTAINER" } } } };
const hostNetwork = { linux: { security_context: { namespace_options: { pid: "CONTAINER", network: "NODE" } } } };

const ids = [{ container_id: 0, host_id: 100_000, length: 65_536 }];
const ownUsers = {
  linux: {
    security_context: {
      namespace_options: { pid: "CONTAINER", userns_options: { mode: "POD", uids: ids, gids: ids } },
    },
  },
};
const withSources = {
  mounts: [
    { container_path: "/ro", host_path: "/usr", readonly: true, recursive_read_only: true },
    { container_path: "/mapped", host_path: "/usr", uidMappings: ids, gidMappings: ids },
  ],
};

/** The image that `prepared` adds declares a volume. */
const withMounts = {
  image: { image: "with-volume" },
  mounts: [{ container_path: "/img", readonly: true, image: { image: "busybox" } }],
};

async function runningContainer(client: Client): Promise<string> {
  const id = await client.createContainer(await client.runPod(ownPid));
  await client.startContainer(id);
  return id;
}

async function podWithContainers(client: Client): Promise<string> {
  const podId = await client.runPod(sharedPid);
  await client.startContainer(await client.createContainer(podId));
  await client.createContainer(podId, { metadata: { name: "sidecar" } });
  return podId;
}

const podInContainer = (client: Client) => client.runPod(sharedPid, "kata");

async function podInContainerWithContainers(client: Client): Promise<string> {
  const podId = await podInContainer(client);
  await client.startContainer(await client.createContainer(podId));
  return podId;
}

/** A call that fails must undo what it did, and then work when it is repeated. */
const creations: Record<string, Scenario> = {
  "RunPodSandbox with an init": { call: (c) => c.runPod(sharedPid), says: /^run pod sandbox web/ },
  "RunPodSandbox without processes": { call: (c) => c.runPod(ownPid), says: /^run pod sandbox web/ },
  "RunPodSandbox in the host's network": { call: (c) => c.runPod(hostNetwork), says: /^run pod sandbox web/ },
  "RunPodSandbox of a handler whose pods are containers": { call: podInContainer, says: /^run pod sandbox web/ },
  "CreateContainer in a pod that is a container": {
    prepare: podInContainer,
    call: (c, id) => c.createContainer(id),
    says: /^create container app/,
  },
  "CreateContainer with a volume and an image mounted": {
    prepare: (c) => c.runPod(ownPid),
    call: (c, id) => c.createContainer(id, withMounts),
    says: /^create container app/,
  },
  "CreateContainer in a user namespace with mounts that are bound apart": {
    prepare: (c) => c.runPod(ownUsers),
    call: (c, id) => c.createContainer(id, withSources),
    says: /^create container app/,
  },
  CreateContainer: {
    prepare: (c) => c.runPod(ownPid),
    call: (c, id) => c.createContainer(id),
    says: /^create container app/,
  },
};

/** A call that fails may leave a part to the next try. */
const removals: Record<string, Scenario> = {
  "StopContainer of a running one": { prepare: runningContainer, call: (c, id) => c.stopContainer(id, 10n), says: /./ },
  "RemoveContainer of a running one": { prepare: runningContainer, call: (c, id) => c.removeContainer(id), says: /./ },
  StopPodSandbox: { prepare: podWithContainers, call: (c, id) => c.stopPod(id), says: /./ },
  "StopPodSandbox of one that is a container": {
    prepare: podInContainerWithContainers,
    call: (c, id) => c.stopPod(id),
    says: /./,
  },
  RemovePodSandbox: { prepare: podWithContainers, call: (c, id) => c.removePod(id), says: /./ },
};

/** What exists, except the pods' own cgroups: they come with the first container and go with the pod. */
function leftOf(node: FakeNode): string[] {
  return node.left().filter((thing) => !/^cgroup \/keelson-[^/]+$/.test(thing));
}

async function prepared(scenario: Scenario): Promise<{ node: FakeNode; client: Client; id: string }> {
  const node = new FakeNode();
  node.addImage("with-volume", {}, ["/data"]);
  const client = clientOf(node);
  const id = (await scenario.prepare?.(client)) ?? "";
  await node.quiet();
  node.effects.length = 0;
  return { node, client, id };
}

/** The names of the call's effects when nothing fails, including those in the background. */
async function effectsOf(t: TestContext, scenario: Scenario): Promise<string[]> {
  const { node, client, id } = await prepared(scenario);
  using _ = node;
  await passTime(t.mock.timers, scenario.call(client, id));
  await node.quiet();
  return [...node.effects];
}

async function errorOf(t: TestContext, call: Promise<unknown>): Promise<unknown> {
  return passTime(
    t.mock.timers,
    call.then(
      () => undefined,
      (error: unknown) => error,
    ),
  );
}

/** Every pod is removed; then nothing may be left. */
async function assertAllGoes(t: TestContext, node: FakeNode, client: Client): Promise<void> {
  for (const { id } of node.deps.pods.all()) {
    await passTime(t.mock.timers, client.stopPod(id));
    await passTime(t.mock.timers, client.removePod(id));
  }
  await node.quiet();
  assert.deepEqual(node.left(), []);
  assert.deepEqual(node.violations, []);
}

for (const [name, scenario] of Object.entries(creations)) {
  for (const fate of ["fails", "done and fails"] satisfies Fate[]) {
    test(`${name}: whichever effect ${fate}, nothing is left, and the same request then works`, async (t) => {
      mockTime(t.mock);
      for (const [i, effect] of (await effectsOf(t, scenario)).entries()) {
        const { node, client, id } = await prepared(scenario);
        using _ = node;
        const before = leftOf(node);
        node.fate = (_, index) => (index === i ? fate : "works");
        const message = messageOf(await errorOf(t, scenario.call(client, id)));
        assert.match(message, scenario.says, effect);
        assert.ok(message.includes(`injected fault in ${effect}`), message);
        assert.deepEqual(leftOf(node), before, effect);
        node.fate = () => "works";
        await passTime(t.mock.timers, scenario.call(client, id));
        await assertAllGoes(t, node, client);
      }
    });
  }

  test(`${name}: when its rollback fails too, it reports the first error and a retry finishes`, async (t) => {
    mockTime(t.mock);
    for (const [i, effect] of (await effectsOf(t, scenario)).entries()) {
      // Each effect of the rollback, and all of them.
      for (const rollback of [1, 2, 3, 4, Infinity]) {
        const { node, client, id } = await prepared(scenario);
        using _ = node;
        node.fate = (_, index) =>
          index === i || index === i + rollback || (index > i && rollback === Infinity) ? "fails" : "works";
        const message = messageOf(await errorOf(t, scenario.call(client, id)));
        assert.match(message, scenario.says, effect);
        const [first] = /injected fault in [\w -]+/.exec(message) ?? [];
        assert.equal(first?.trim().startsWith(`injected fault in ${effect}`), true, message);
        assert.equal((await client.listContainers()).length, 0);
        node.fate = () => "works";
        await passTime(t.mock.timers, scenario.call(client, id));
        await assertAllGoes(t, node, client);
      }
    }
  });

  test(`${name}: when its rollback fails too, the next start of the daemon cleans up`, async (t) => {
    mockTime(t.mock);
    for (const [i, effect] of (await effectsOf(t, scenario)).entries()) {
      for (const bootId of ["boot-1", "boot-2"]) {
        const { node, client, id } = await prepared(scenario);
        using _ = node;
        const before = leftOf(node);
        node.fate = (_, index) => (index >= i ? "fails" : "works");
        await errorOf(t, scenario.call(client, id));
        node.fate = () => "works";
        await passTime(t.mock.timers, recover(node.restart({ bootId })));
        if (bootId === "boot-1") assert.deepEqual(leftOf(node), before, effect);
        await assertAllGoes(t, node, clientOf(node));
      }
    }
  });

  test(`${name}: a daemon that is killed after any effect leaves nothing once it has recovered`, async (t) => {
    mockTime(t.mock);
    for (const i of (await effectsOf(t, scenario)).keys()) {
      const { node, client, id } = await prepared(scenario);
      using _ = node;
      const before = leftOf(node);
      // From here on nothing works any more, as in a dead daemon.
      node.fate = (_, index) => (index > i ? "fails" : "works");
      const error = await errorOf(t, scenario.call(client, id));
      node.fate = () => "works";
      await passTime(t.mock.timers, recover(node.restart()));
      if (error !== undefined) assert.deepEqual(leftOf(node), before);
      await passTime(t.mock.timers, scenario.call(clientOf(node), id));
      await assertAllGoes(t, node, clientOf(node));
    }
  });
}

for (const [name, scenario] of Object.entries(removals)) {
  for (const fate of ["fails", "done and fails"] satisfies Fate[]) {
    for (const many of [false, true]) {
      test(`${name}: ${many ? "when all from some effect on fail" : `whichever effect ${fate}`}, a retry completes it`, async (t) => {
        mockTime(t.mock);
        for (const [i, effect] of (await effectsOf(t, scenario)).entries()) {
          const { node, client, id } = await prepared(scenario);
          using _ = node;
          node.fate = (_, index) => (index === i || (many && index > i) ? fate : "works");
          const error = await errorOf(t, scenario.call(client, id));
          if (error !== undefined) assert.match(messageOf(error), scenario.says, effect);
          node.fate = () => "works";
          await passTime(t.mock.timers, scenario.call(client, id));
          await passTime(t.mock.timers, scenario.call(client, id));
          await assertAllGoes(t, node, client);
        }
      });
    }
  }

  test(`${name}: after a failure and a restart of the daemon, a retry completes it`, async (t) => {
    mockTime(t.mock);
    for (const i of (await effectsOf(t, scenario)).keys()) {
      for (const bootId of ["boot-1", "boot-2"]) {
        const { node, client, id } = await prepared(scenario);
        using _ = node;
        node.fate = (_, index) => (index >= i ? "fails" : "works");
        await errorOf(t, scenario.call(client, id));
        node.fate = () => "works";
        await passTime(t.mock.timers, recover(node.restart({ bootId })));
        await passTime(t.mock.timers, scenario.call(clientOf(node), id));
        await assertAllGoes(t, node, clientOf(node));
      }
    }
  });
}

const start: Scenario = {
  prepare: async (c) => c.createContainer(await c.runPod(ownPid)),
  call: (c, id) => c.startContainer(id),
  says: /^start container/,
};

for (const fate of ["fails", "done and fails"] satisfies Fate[]) {
  test(`StartContainer: whichever effect ${fate}, the container does not run and is listed as exited, or it can still be started`, async (t) => {
    mockTime(t.mock);
    for (const [i, effect] of (await effectsOf(t, start)).entries()) {
      const { node, client, id } = await prepared(start);
      using _ = node;
      node.fate = (_, index) => (index === i ? fate : "works");
      const error = await errorOf(t, start.call(client, id));
      assert.match(messageOf(error), start.says, effect);
      assert.ok(messageOf(error).includes(`injected fault in ${effect}`));
      node.fate = () => "works";
      await node.quiet();
      if ((effect === "runtime start" && fate === "fails") || effect === "runtime watch") {
        assert.equal((await client.containerStatus(id)).state, ContainerState.CONTAINER_CREATED);
        await passTime(t.mock.timers, client.startContainer(id));
        assert.equal((await client.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
      } else {
        assert.deepEqual(node.running("main"), [], effect);
        assert.equal((await client.containerStatus(id)).state, ContainerState.CONTAINER_EXITED, effect);
      }
      await assertAllGoes(t, node, client);
    }
  });
}

test("StartContainer: when ending what it started fails too, it reports the first error and a stop completes it", async (t) => {
  mockTime(t.mock);
  for (const [i, effect] of (await effectsOf(t, start)).entries()) {
    const { node, client, id } = await prepared(start);
    using _ = node;
    node.fate = (_, index) => (index >= i ? "fails" : "works");
    const message = messageOf(await errorOf(t, start.call(client, id)));
    assert.match(message, start.says, effect);
    assert.ok(message.slice(0, message.indexOf("injected fault in ") + 60).includes(effect), message);
    node.fate = () => "works";
    await passTime(t.mock.timers, client.stopContainer(id));
    assert.deepEqual(node.running("main"), [], effect);
    await assertAllGoes(t, node, client);
  }
});
