// A node whose network comes later, as when a network add-on is installed after the kubelet has started.
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { rejectsWith, TestNode } from "../testing/test-node.ts";

test("the network is not ready without a list, says why, and is ready when one appears", { skip }, async () => {
  await using node = await TestNode.start({ network: false });
  const networkReady = async () => {
    const { status } = await node.call("status", { verbose: false });
    return status!.conditions.find((condition) => condition.type === "NetworkReady")!;
  };
  const untilReady = (status: boolean) =>
    waitFor(async () => (await networkReady()).status === status, {
      timeoutMs: 3000,
      message: `NetworkReady is not ${status}`,
    });

  const missing = await networkReady();
  assert.equal(missing.status, false);
  assert.notEqual(missing.reason, "");
  assert.match(missing.message, new RegExp(`${node.dir}/net\\.d`));
  await rejectsWith(Code.FailedPrecondition, node.runPod(), /net\.d/);
  assert.deepEqual(node.remains(), []);
  assert.deepEqual((await node.call("listPodSandbox", { filter: undefined })).items, []);

  // Pods in the host's network, such as those of the add-on itself, need none.
  const hostNetwork = await node.runPod({
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER, network: NamespaceMode.NODE } } },
  });
  assert.equal(await node.outputOf(hostNetwork, "echo runs"), "runs");

  node.writeNetwork();
  await untilReady(true);
  assert.deepEqual([(await networkReady()).reason, (await networkReady()).message], ["", ""]);
  const pod = await node.runPod();
  assert.match((await node.podStatus(pod.id)).network!.ip, /^10\.99\./);
  assert.equal(await node.outputOf(pod, "echo attached"), "attached");

  // A list that goes, or breaks, is seen too; what is attached is taken down with what it was attached with.
  rmSync(node.networkFile);
  await untilReady(false);
  await node.removePod(pod.id);
  writeFileSync(
    join(node.dir, "net.d/05-broken.conflist"),
    '{"cniVersion": "1.0.0", "name": "broken", "plugins": [{"type": "no-such-plugin"}]}',
  );
  await waitFor(async () => /no-such-plugin/.test((await networkReady()).message), {
    message: "the missing plugin is not named",
  });
  rmSync(join(node.dir, "net.d/05-broken.conflist"));
  writeFileSync(node.networkFile, "{");
  await waitFor(async () => /10-keel\.conflist/.test((await networkReady()).message), {
    message: "the broken file is not named",
  });
  node.writeNetwork();
  await untilReady(true);
  rmSync(join(node.dir, "net.d"), { recursive: true });
  await untilReady(false);
});

test("a plugin that fails fails the pod with its own words, and nothing is left", { skip }, async () => {
  await using node = await TestNode.start({ network: false });
  const bridge = {
    type: "bridge",
    bridge: "keel0",
    isGateway: true,
    ipam: { type: "host-local", ranges: [[{ subnet: "10.99.0.0/16" }]] },
  };
  const list = (plugins: object[]) => JSON.stringify({ cniVersion: "1.0.0", name: "keel", plugins });
  writeFileSync(node.networkFile, list([bridge, { type: "tuning", sysctl: { "net.core.no_such_sysctl": "1" } }]));
  const config = node.podConfig();
  await assert.rejects(
    waitFor(() => node.call("runPodSandbox", { config, runtimeHandler: "" })),
    /network keel: plugin tuning: ADD: .*no_such_sysctl/,
  );
  assert.deepEqual(node.remains(), []);
  assert.deepEqual((await node.call("listPodSandbox", { filter: undefined })).items, []);
  assert.deepEqual(node.leftBehind(), []);
  writeFileSync(node.networkFile, list([bridge]));
  await waitFor(() => node.call("runPodSandbox", { config, runtimeHandler: "" }).catch(() => undefined), {
    timeoutMs: 5000,
    message: "the same request does not work afterwards",
  });
});
