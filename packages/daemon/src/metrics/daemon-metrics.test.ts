import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { TooManyRuns } from "@keelson/base/joined-calls.ts";
import { Code } from "@keelson/base/status.ts";
import { TooManyCalls } from "@keelson/cri/server.ts";
import { clientOf } from "@keelson/engine/testing/fake-client.ts";
import { FakeNode } from "@keelson/engine/testing/fake-node.ts";
import { DaemonMetrics } from "./daemon-metrics.ts";

/** The samples of a metric, by their labels. */
async function samples(metrics: DaemonMetrics, name: string): Promise<Record<string, number>> {
  const lines = (await metrics.text()).split("\n").filter((l) => l.startsWith(`${name}{`) || l.startsWith(`${name} `));
  return Object.fromEntries(
    lines.map((l) => [l.slice(name.length, l.lastIndexOf(" ")), Number(l.slice(l.lastIndexOf(" ") + 1))]),
  );
}

const ended = { name: "version", durationMs: 20, error: undefined };

test("calls are counted by code and timed", async () => {
  const metrics = new DaemonMetrics();
  for (const _ of [1, 2, 3]) metrics.started();
  metrics.ended({ ...ended, code: Code.Ok });
  metrics.ended({ ...ended, code: Code.NotFound });
  assert.deepEqual(await samples(metrics, "keelson_calls_in_progress"), { "": 1 });
  assert.deepEqual(await samples(metrics, "keelson_calls_total"), {
    '{call="version",code="Ok"}': 1,
    '{call="version",code="NotFound"}': 1,
  });
  assert.deepEqual(await samples(metrics, "keelson_call_duration_seconds_count"), { '{call="version"}': 2 });
});

test("what is refused to stay within limits is counted as dropped", async () => {
  const metrics = new DaemonMetrics();
  const refusals = [new TooManyCalls(1), new TooManyRuns("full"), new TooManyRuns("full")];
  for (const error of refusals) {
    metrics.started();
    metrics.ended({ ...ended, code: Code.ResourceExhausted, error });
  }
  assert.deepEqual(await samples(metrics, "keelson_dropped_total"), {
    '{what="calls"}': 1,
    '{what="operations"}': 2,
    '{what="exec_output"}': 0,
    '{what="events"}': 0,
    '{what="spans"}': 0,
    '{what="detached_pods"}': 0,
  });
});

test("what exists on the node is counted when it is read", async (t) => {
  const metrics = new DaemonMetrics();
  const node = new FakeNode(metrics);
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  metrics.describe(node.deps);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  await client.createContainer(podId, { metadata: { name: "other" } });
  assert.deepEqual(await samples(metrics, "keelson_pods"), { '{state="ready"}': 1 });
  assert.deepEqual(await samples(metrics, "keelson_containers"), { '{state="running"}': 1, '{state="created"}': 1 });
  node.exit(id, 3);
  await node.quiet();
  assert.deepEqual(await samples(metrics, "keelson_container_exits_total"), { '{reason="Error"}': 1 });
  assert.deepEqual(await samples(metrics, "keelson_containers"), { '{state="exited"}': 1, '{state="created"}': 1 });
});

test("docs/metrics.md has every metric; KEELSON_WRITE_DOCS=1 regenerates its table", (t) => {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const metrics = new DaemonMetrics();
  metrics.describe(node.deps);
  using _ = metrics.followEventLoop();
  const rows = metrics
    .families()
    .map(
      ({ name, type, labels, help }) =>
        `| \`${name}\` | ${type} | ${labels.map((l) => `\`${l}\``).join(" ")} | ${help} |`,
    );
  const table = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", ...rows].join("\n");
  const file = join(import.meta.dirname, "../../../../docs/metrics.md");
  const text = readFileSync(file, "utf8");
  const written = text.replace(/^\| metric \|[^]*?\n(?=\n|$)/m, `${table}\n`);
  if (process.env["KEELSON_WRITE_DOCS"] === "1") writeFileSync(file, written);
  else
    assert.equal(
      text,
      written,
      "docs/metrics.md is out of date; regenerate it with KEELSON_WRITE_DOCS=1 bin/node --test packages/daemon/src/metrics/daemon-metrics.test.ts",
    );
});

test("the dashboard uses only metrics that exist, and all of them", (t) => {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const metrics = new DaemonMetrics();
  metrics.describe(node.deps);
  using _ = metrics.followEventLoop();
  const text = readFileSync(join(import.meta.dirname, "../../../../packaging/grafana-dashboard.json"), "utf8");
  const { panels } = JSON.parse(text) as { panels: { targets: { expr: string }[] }[] };
  const asked = panels
    .flatMap(({ targets }) => targets.flatMap(({ expr }) => expr.match(/\b(?:keelson|process)_\w+/g) ?? []))
    .map((name) => name.replace(/_bucket$/, ""));
  assert.deepEqual(
    [...new Set(asked)].sort(),
    metrics
      .families()
      .map(({ name }) => name)
      .sort(),
  );
});
