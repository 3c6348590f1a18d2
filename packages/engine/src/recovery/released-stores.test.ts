import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";
import { fixtureStore, fixtureVersions } from "../testing/store-fixture.ts";
import { recover } from "./recovery.ts";

/** Today's recovery on the records of a release whose processes are gone. */

/** Handlers of the machine in memory that are of the same kind as a fixture's. */
const handlers: Record<string, string> = { slow: "crun", "pod-in-container": "kata", shim: "runc" };

interface Row {
  readonly bootId: string;
  readonly handler: string;
  readonly state: { readonly is: string; readonly exitCode?: number };
}

function nodeWith(
  t: TestContext,
  version: string,
): { node: FakeNode; rows: Record<"pods" | "containers", [string, Row][]> } {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const { tables } = fixtureStore(version);
  const rows = { pods: [] as [string, Row][], containers: [] as [string, Row][] };
  for (const table of ["pods", "containers"] as const) {
    const insert = node.db.prepare(`INSERT INTO ${table} (id, record) VALUES (?, ?)`);
    for (const [id, record] of Object.entries(tables[table]!) as [string, Row][]) {
      rows[table].push([id, record]);
      insert.run(id, JSON.stringify({ ...record, handler: handlers[record.handler] ?? record.handler }));
    }
  }
  return { node, rows };
}

for (const version of fixtureVersions()) {
  for (const isSameBoot of [true, false]) {
    test(`what keelsond ${version} left is recovered ${isSameBoot ? "when its processes are gone" : "after a boot"}, and can be removed`, async (t) => {
      mockTime(t.mock);
      const inTime = <T>(call: Promise<T>) => passTime(t.mock.timers, call);
      const { node, rows } = nodeWith(t, version);
      const client = clientOf(node);
      const bootOf = (row: Row) => row.bootId;
      const [boot] = new Set(rows.pods.map(([, row]) => bootOf(row)));
      node.bootId = isSameBoot ? boot! : "another boot";
      await inTime(recover(node.restart()));
      await node.quiet();
      assert.deepEqual([node.logged, node.violations], [[], []]);

      const shown = await client.listContainers();
      const expected = rows.containers.filter(([, { state }]) => state.is !== "creating").map(([id]) => id);
      assert.deepEqual(
        shown.map(({ id }) => id).sort(),
        expected.sort(),
        "what was being created is undone, and nothing else",
      );
      for (const [id, { state }] of rows.containers) {
        if (state.is === "creating") continue;
        const { state: is, reason, exitCode } = await client.containerStatus(id);
        if (state.is === "unknown") assert.equal(is, ContainerState.CONTAINER_UNKNOWN);
        else if (state.is === "exited") assert.equal(exitCode, state.exitCode);
        else assert.equal(reason, isSameBoot ? "MonitorLost" : "NodeRebooted");
      }
      const pods = await client.listPods();
      const kept = rows.pods.filter(([, { state }]) => state.is !== "creating").map(([id]) => id);
      assert.deepEqual(pods.map(({ id }) => id).sort(), kept.sort());
      for (const { id, state } of pods) {
        // A pod in the host's namespaces has nothing to lose but at a boot.
        const isHost = node.deps.pods.get(id)!.plan.network === "host";
        assert.equal(state, isHost && isSameBoot ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY);
      }
      for (const { id } of pods) await inTime(client.removePod(id));
      await node.quiet();
      assert.deepEqual(node.left(), []);
    });
  }
}
