// What a released keelsond left when it was killed, opened and recovered by today's: see engine/src/testing/store-fixture.ts.
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fixtureStore, fixtureVersions, unpackFixture } from "@keelson/engine/testing/store-fixture.ts";
import { bootId } from "@keelson/linux/procfs.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { sectionLike, TestNode } from "../testing/test-node.ts";

interface Row {
  readonly name: string;
  readonly state: { readonly is: string; readonly exitCode?: number };
}

const handlers = [
  sectionLike("crun", "slow"),
  sectionLike("crun", "pod-in-container", 'sandbox = "container"\n'),
  sectionLike("shim-runc", "shim"),
].join("");

for (const version of fixtureVersions()) {
  describe(`the store of keelsond ${version}`, { skip }, () => {
    const { tables } = fixtureStore(version);
    const rowsOf = (table: "pods" | "containers") => Object.entries(tables[table]!) as [string, Row][];

    for (const [when, boot] of [
      ["after a reboot", undefined],
      ["when its processes are gone", bootId()],
    ] as const) {
      test(`is recovered ${when}: nothing is lost, and everything can be removed`, async () => {
        await using node = await TestNode.start({ config: handlers });
        await node.stop();
        for (const dir of [node.root, node.state]) rmSync(dir, { recursive: true });
        unpackFixture(version, node.dir, (table, record) =>
          boot !== undefined && "bootId" in record ? { ...record, bootId: boot } : record,
        );
        const withCode = rowsOf("containers").find(([, { name }]) => name.startsWith("running_"))![0];
        if (boot === undefined) rmSync(node.state, { recursive: true });
        else writeFileSync(join(node.state, "exits", withCode), "9");
        const layers = readdirSync(join(node.root, "layers"));
        await node.startAgain();

        assert.doesNotMatch(node.daemonLog(), /"level":50/, "nothing is an error");
        const { containers } = await node.call("listContainers", { filter: undefined });
        const shown = rowsOf("containers").filter(([, { state }]) => state.is !== "creating");
        assert.deepEqual(containers.map(({ id }) => id).sort(), shown.map(([id]) => id).sort());
        for (const [id, { state }] of shown) {
          const { state: is, reason, exitCode } = await node.containerStatus(id);
          if (state.is === "unknown") assert.equal(is, ContainerState.CONTAINER_UNKNOWN);
          else if (state.is === "exited") assert.equal(exitCode, state.exitCode);
          else if (boot === undefined) assert.equal(reason, "NodeRebooted");
          else assert.deepEqual([reason, exitCode], id === withCode ? ["Error", 9] : ["MonitorLost", 137]);
          assert.ok(existsSync(join(node.root, "containers", id)), "what it wrote is kept until it is removed");
        }
        const { items } = await node.call("listPodSandbox", { filter: undefined });
        const pods = rowsOf("pods").filter(([, { state }]) => state.is !== "creating");
        assert.deepEqual(items.map(({ id }) => id).sort(), pods.map(([id]) => id).sort());
        for (const { metadata, state, labels } of items) {
          // A pod in the host's namespaces has nothing to lose but at a boot.
          const isReady = boot !== undefined && metadata!.name === "host";
          assert.equal(
            state,
            isReady ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY,
            metadata!.name,
          );
          assert.equal(labels["app"], metadata!.name);
        }
        const { images } = await node.call("listImages", { filter: undefined });
        assert.deepEqual(
          images.map(({ id }) => id),
          Object.keys(tables["images"]!),
        );
        assert.deepEqual(readdirSync(join(node.root, "layers")), layers);
        assert.deepEqual(readdirSync(join(node.root, "cni/results")), [], "every address is given back");
        const gone = rowsOf("containers").filter(([, { state }]) => state.is === "creating");
        for (const [id] of gone) assert.ok(!existsSync(join(node.root, "containers", id)));
        // That the rest can be removed, and then nothing is left, the end of the node checks.
      });
    }
  });
}
