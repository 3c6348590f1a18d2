import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "./metrics.ts";

test("counters, gauges and histograms are written as Prometheus reads them", async () => {
  const metrics = new Metrics();
  const calls = metrics.counter("calls_total", "Calls.", ["method", "code"]);
  calls.add({ method: "Version", code: "OK" });
  calls.add({ method: "Version", code: "OK" }, 2);
  metrics.gauge("pods", "Pods.", ["state"], () => [{ labels: { state: "ready" }, value: 3 }]);
  const seconds = metrics.histogram("call_seconds", "How long.", ["method"], [0.01, 1]);
  for (const value of [0.01, 0.5, 7]) seconds.observe({ method: "Version" }, value);
  assert.equal(
    await metrics.text(),
    `# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{method="Version",code="OK"} 3
# HELP pods Pods.
# TYPE pods gauge
pods{state="ready"} 3
# HELP call_seconds How long.
# TYPE call_seconds histogram
call_seconds_bucket{method="Version",le="0.01"} 1
call_seconds_bucket{method="Version",le="1"} 2
call_seconds_bucket{method="Version",le="+Inf"} 3
call_seconds_sum{method="Version"} 7.51
call_seconds_count{method="Version"} 3
`,
  );
});

test("a counter without labels starts at 0", async () => {
  const metrics = new Metrics();
  metrics.counter("lost_total", "Lost.");
  assert.match(await metrics.text(), /^lost_total 0$/m);
});

test("quotes, backslashes and newlines stay within their label", async () => {
  const metrics = new Metrics();
  metrics.counter("a_total", "One\nline.", ["what"]).add({ what: 'a"\\\nb' });
  assert.match(await metrics.text(), /^# HELP a_total One\\nline\.$/m);
  assert.match(await metrics.text(), /^a_total\{what="a\\"\\\\\\nb"\} 1$/m);
});

test("two metrics of one name are a mistake", async () => {
  const metrics = new Metrics();
  metrics.counter("a_total", "");
  assert.throws(() => metrics.counter("a_total", ""), /two metrics a_total/);
});
