import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { PodSandbox, PodSandboxStatus } from "@keelson/cri/gen/runtime/v1/api.ts";
import { startFakeRuntime } from "../testing/fake-runtime.ts";
import { parseTrace } from "./operation.ts";
import { waterfallText } from "./text.ts";
import { waterfall } from "./waterfall.ts";

const begin = 1_795_230_691_000_000_000n;
const at = (ms: number) => String(begin + BigInt(ms) * 1_000_000n);

const operations = [
  {
    call: "RunPodSandbox",
    name: "web",
    podUid: "u",
    startedAtNs: at(0),
    durationMs: 100,
    code: "Ok",
    stages: [
      {
        name: "network attach",
        startMs: 10,
        endMs: 60,
        details: [{ name: "plugin bridge: ADD", startMs: 10, endMs: 50 }],
      },
      { name: "runtime create", startMs: 60, endMs: 100, details: [] },
    ],
  },
  {
    call: "StartContainer",
    name: "<b>\u001b[2J",
    podUid: "u",
    containerId: "c",
    startedAtNs: at(100),
    durationMs: 100,
    code: "Internal",
    error: "no <script>",
    stages: [],
  },
  { call: "StopContainer", name: "main", podUid: "u", startedAtNs: at(60_000), durationMs: 5, stages: [] },
];

async function withTrace(t: TestContext, info: Record<string, string>) {
  const fake = await startFakeRuntime(t, {
    podSandboxStatus: async () => ({
      status: PodSandboxStatus.fromPartial({ id: "pod1", metadata: { name: "web", namespace: "default" } }),
      info,
      containersStatuses: [],
      timestamp: 0n,
    }),
  });
  fake.pods = [PodSandbox.fromPartial({ id: "pod1" })];
  return fake;
}

test("a waterfall of what brought the pod up; -a also what came later, with its own scale", async (t) => {
  const fake = await withTrace(t, { trace: JSON.stringify(operations) });
  const { code, out } = await fake.keelctl("trace", "pod1");
  assert.equal(code, 0);
  const lines = out.split("\n").map((line) => line.trimEnd());
  assert.equal(lines[0], "took 200.0 ms");
  assert.match(lines[1]!, /^RunPodSandbox web +█+ +100\.0 ms$/);
  assert.match(lines[2]!, /^ {2}network attach +▒+ +50\.0 ms$/);
  assert.match(lines[3]!, /^ {4}plugin bridge: ADD +░+ +40\.0 ms$/);
  assert.match(lines[5]!, /^StartContainer <b>\\x1b\[2J +█+ +100\.0 ms$/);
  assert.equal(lines[6], "  Internal: no <script>");
  // 80 columns: what takes half of the time has half of the bar, beginning where the first ends.
  const bars = [lines[1]!, lines[5]!].map((line) => ({ from: line.indexOf("█"), length: line.match(/█+/)![0].length }));
  assert.equal(bars[0]!.from + bars[0]!.length, bars[1]!.from);
  assert.equal(bars[0]!.length, bars[1]!.length);
  assert.ok(Array.from(lines[1]!).length <= 80);
  assert.doesNotMatch(out, /StopContainer/);
  assert.match(
    (await fake.keelctl("trace", "-a", "pod1")).out,
    /\n1 m 0 s after the beginning, took 5\.0 ms\nStopContainer main +█+ +5\.0 ms\n {2}still runs\n$/,
  );
});

test("-o json as the runtime gave it; -o html in one file, with no text of the runtime as markup", async (t) => {
  const fake = await withTrace(t, { trace: JSON.stringify(operations) });
  const json = JSON.parse((await fake.keelctl("trace", "-a", "-o", "json", "pod1")).out) as Record<string, unknown>[];
  assert.deepEqual(
    json.map((one) => [one["call"], one["startedAtNs"], one["code"]]),
    operations.map((one) => [one.call, one.startedAtNs, one.code]),
  );
  assert.deepEqual((json[0]!["stages"] as unknown[])[0], {
    name: "network attach",
    startMs: 10,
    endMs: 60,
    details: [{ name: "plugin bridge: ADD", startMs: 10, endMs: 50, details: [] }],
  });
  const html = (await fake.keelctl("trace", "-o", "html", "pod1")).out;
  assert.match(html, /^<!doctype html>/);
  assert.match(html, /<title>default\/web \(pod1\)<\/title>/);
  assert.match(html, /left:5\.000%;width:25\.000%/);
  assert.match(html, /Internal: no &lt;script&gt;/);
  assert.match(html, /StartContainer &lt;b&gt;\\x1b\[2J/);
  assert.doesNotMatch(html, /<script|<b>|src=|href=|@import|url\(/);
});

test("a runtime without traces, and one that remembers nothing", async (t) => {
  const without = await withTrace(t, {});
  assert.deepEqual(await without.keelctl("trace", "pod1"), {
    code: 1,
    out: "",
    err: "keelctl: this runtime does not report how its pods came up; keelsond does\n",
  });
  const empty = await withTrace(t, { trace: "[]" });
  assert.match((await empty.keelctl("trace", "pod1")).err, /remembers nothing of its start/);
  assert.equal((await empty.keelctl("trace", "-o", "json", "pod1")).out, "[]\n");
});

test("whatever a runtime sends is read as a list or ignored, and never crashes", () => {
  for (const text of [undefined, "", "{}", "null", "[1]", '[{"startedAtNs":"x"}]', "[null]"]) parseTrace(text);
  assert.equal(parseTrace("{}"), undefined);
  const odd = parseTrace('[{"call":{},"startedAtNs":"5","durationMs":"1","stages":[{"startMs":9,"endMs":-1}]}]')!;
  assert.deepEqual(odd[0]!.stages, [{ name: "", startMs: 9, endMs: 9, details: [] }]);
  assert.equal(typeof waterfallText(waterfall(odd), 20), "string");
});
