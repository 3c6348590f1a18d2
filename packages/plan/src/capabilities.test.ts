import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { Capability } from "@keelson/cri/gen/runtime/v1/api.ts";
import { capabilitiesSpec, capabilityNames, planCapabilities } from "./capabilities.ts";

const all = [...capabilityNames];
const asked = (add: string[], drop: string[] = [], ambient: string[] = []) =>
  Capability.fromPartial({ addCapabilities: add, dropCapabilities: drop, addAmbientCapabilities: ambient });
const granted = (...args: Parameters<typeof planCapabilities>) => planCapabilities(...args).granted;

test("nothing asked for: the default list", () => {
  assert.equal(granted(undefined, false, all).length, 14);
  assert.deepEqual(planCapabilities(undefined, false, all).ambient, []);
});

test("ALL comes first, then additions, then drops; any spelling", () => {
  assert.deepEqual(granted(asked(["net_admin", "CAP_CHOWN"], ["all"]), false, all), ["CAP_CHOWN", "CAP_NET_ADMIN"]);
  assert.equal(granted(asked(["ALL"], ["mknod"]), false, all).length, 40);
  assert.deepEqual(granted(asked(["ALL"], ["ALL"]), false, all), []);
  assert.ok(!granted(asked(["KILL"], ["KILL"]), false, all).includes("CAP_KILL"));
});

test("ambient capabilities are in all five sets", () => {
  const spec = capabilitiesSpec(planCapabilities(asked([], ["ALL"], ["NET_BIND_SERVICE"]), false, all));
  for (const set of Object.values(spec)) assert.deepEqual(set, ["CAP_NET_BIND_SERVICE"]);
  assert.deepEqual(capabilitiesSpec(planCapabilities(undefined, false, all)).inheritable, []);
});

test("what the daemon lacks is left out of lists, but refused when it is asked for by name", () => {
  const host = all.filter((name) => name !== "CAP_SYS_RESOURCE" && name !== "CAP_MKNOD");
  assert.equal(granted(asked(["ALL"]), false, host).length, 39);
  assert.equal(granted(undefined, true, host).length, 39);
  assert.equal(granted(undefined, false, host).length, 13);
  assert.throws(() => planCapabilities(asked(["SYS_RESOURCE"]), false, host), {
    code: Code.FailedPrecondition,
    message: /CAP_SYS_RESOURCE/,
  });
  assert.deepEqual(granted(asked([], ["SYS_RESOURCE", "ALL"]), false, host), []);
});

test("privileged means every capability, whatever is dropped", () => {
  assert.equal(granted(asked([], ["ALL"]), true, all).length, 41);
});

test("an unknown name is refused", () => {
  for (const name of ["", "CAP_", "SYS_FOO", "CAP_CAP_CHOWN", "__proto__"])
    assert.throws(() => planCapabilities(asked([name]), false, all), {
      code: Code.InvalidArgument,
      message: /add_capabilities/,
    });
  assert.throws(() => planCapabilities(asked([], ["FOO"]), false, all), {
    code: Code.InvalidArgument,
    message: /drop_capabilities/,
  });
});
