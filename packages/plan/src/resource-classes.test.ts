import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { blockIoSpec, parseBlockIoClasses, parseRdtClasses, planResourceClasses } from "./resource-classes.ts";

test("a container's own annotation wins over the pod's for that container, and that one over the pod's for all", () => {
  const pod = { "blockio.resources.beta.kubernetes.io/pod": "slow", "rdt.resources.beta.kubernetes.io/pod": "bronze" };
  const forOne = { ...pod, "blockio.resources.beta.kubernetes.io/container.app": "fast" };
  const blockIo = (container: Record<string, string>, pod: Record<string, string>) =>
    planResourceClasses("app", container, pod).blockIo;
  assert.deepEqual(planResourceClasses("app", {}, {}), {});
  assert.deepEqual(planResourceClasses("app", {}, pod), {
    blockIo: { name: "slow", annotation: "blockio.resources.beta.kubernetes.io/pod" },
    rdt: { name: "bronze", annotation: "rdt.resources.beta.kubernetes.io/pod" },
  });
  assert.equal(blockIo({}, forOne)?.name, "fast");
  assert.equal(blockIo({ "io.kubernetes.cri.blockio-class": "own" }, forOne)?.name, "own");
  assert.equal(planResourceClasses("other", {}, forOne).blockIo?.name, "slow");
});

test("names that no class can have are refused, naming the annotation", () => {
  for (const name of ["", "..", "a/b", "a b", "x".repeat(256)]) {
    assert.throws(
      () => planResourceClasses("app", { "io.kubernetes.cri.rdt-class": name }, {}),
      { code: Code.InvalidArgument, message: /^annotations\[io\.kubernetes\.cri\.rdt-class\] / },
      name,
    );
  }
});

test("classes of block I/O become weights and limits of the devices that exist", () => {
  const { fast } = parseBlockIoClasses({
    Classes: {
      fast: [
        { Weight: 400 },
        { Devices: ["/dev/sd[ab]"], ThrottleReadBps: "50M", ThrottleWriteIOPS: 100 },
        { Devices: ["/dev/sdb", "/dev/none"], ThrottleReadBps: "1Gi", Weight: 80 },
      ],
    },
  });
  const numbers: Record<string, number[]> = { "/dev/sd[ab]": [0, 16], "/dev/sdb": [16] };
  const spec = blockIoSpec(fast!, (pattern) => (numbers[pattern] ?? []).map((minor) => ({ major: 8, minor })));
  assert.deepEqual(spec, {
    weight: 400,
    weightDevice: [{ major: 8, minor: 16, weight: 80 }],
    throttleReadBpsDevice: [
      { major: 8, minor: 0, rate: 50_000_000 },
      { major: 8, minor: 16, rate: 1_073_741_824 },
    ],
    throttleWriteIOPSDevice: [
      { major: 8, minor: 0, rate: 100 },
      { major: 8, minor: 16, rate: 100 },
    ],
  });
});

test("a malformed file is refused, naming the key", () => {
  for (const [value, message] of [
    [null, /the file /],
    [{}, /^Classes /],
    [{ Classes: { a: [{ Weight: 5 }] } }, /^Classes\.a\.0\.Weight /],
    [{ Classes: { a: [{ ThrottleReadBps: "fast", Devices: ["/dev/a"] }] } }, /^Classes\.a\.0\.ThrottleReadBps /],
    [{ Classes: { a: [{ ThrottleReadBps: "999999999999999T", Devices: ["/dev/a"] }] } }, /too large/],
    [{ Classes: { a: [{ Devices: ["sda"] }] } }, /absolute path/],
    [{ Classes: { a: [{ ThrottleReadBps: 1 }] } }, /^Classes\.a\[0\] has limits for no Devices/],
    [{ Classes: { a: [{ Wait: 5 }] } }, /^Classes\.a\.0\.Wait /],
  ] as const) {
    assert.throws(() => parseBlockIoClasses(value), { code: Code.InvalidArgument, message }, JSON.stringify(value));
  }
  assert.throws(() => parseRdtClasses({ classes: { a: { l2: "x" } } }), {
    code: Code.InvalidArgument,
    message: /^classes\.a\.l2 /,
  });
  assert.deepEqual(parseRdtClasses({ classes: { gold: { l3CacheSchema: "L3:0=ff" } } }), {
    gold: { closID: "gold", l3CacheSchema: "L3:0=ff" },
  });
});
