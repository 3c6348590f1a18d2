import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, codeOf } from "@keelson/base/status.ts";
import { configuredOptions, metricsOf, specAny, timestampNs } from "./any.ts";
import { Metrics as MetricsV1 } from "./gen/io/containerd/cgroups/v1/metrics.ts";
import { Metrics as MetricsV2 } from "./gen/io/containerd/cgroups/v2/metrics.ts";

test("metrics of cgroups v1 and v2 are told apart by their type, with or without a host before it", () => {
  const v1 = Buffer.from(MetricsV1.encode(MetricsV1.fromPartial({ cpu: { usage: { total: 5n } } })).finish());
  const v2 = Buffer.from(MetricsV2.encode(MetricsV2.fromPartial({ cpu: { usageUsec: 6n } })).finish());
  for (const host of ["", "type.googleapis.com/"]) {
    const one = metricsOf({ typeUrl: `${host}io.containerd.cgroups.v1.Metrics`, value: v1 });
    assert.ok(one?.cgroups === 1 && one.metrics.cpu?.usage?.total === 5n);
    const two = metricsOf({ typeUrl: `${host}io.containerd.cgroups.v2.Metrics`, value: v2 });
    assert.ok(two?.cgroups === 2 && two.metrics.cpu?.usageUsec === 6n);
  }
  assert.equal(metricsOf(undefined), undefined);
  assert.equal(metricsOf({ typeUrl: "io.other.Metrics", value: v1 }), undefined);
  assert.throws(
    () => metricsOf({ typeUrl: "io.containerd.cgroups.v1.Metrics", value: Buffer.from("0aff", "hex") }),
    (e: unknown) => codeOf(e) === Code.Internal,
  );
});

test("options and parts of a spec have their types' names", () => {
  assert.equal(configuredOptions({ configPath: "/etc/kata/qemu.toml" }).typeUrl, "runtimeoptions.v1.Options");
  assert.deepEqual(specAny("Process", { cwd: "/" }), {
    typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
    value: Buffer.from('{"cwd":"/"}'),
  });
});

test("a time is in nanoseconds; a missing or nonsensical one is 0", () => {
  assert.equal(timestampNs({ seconds: 2n, nanos: 5 }), 2_000_000_005n);
  assert.equal(timestampNs(undefined), 0n);
  // A Go program's zero time.
  assert.equal(timestampNs({ seconds: -62135596800n, nanos: 0 }), 0n);
});
