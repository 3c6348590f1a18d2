import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { parseConfig } from "../config/load.ts";
import { containerPolicyOf } from "./container-policy.ts";

const own = "Max open files            1024                 4096                 files     \n";
const config = parseConfig({ containers: { default_ulimits: ["nofile=1024:8192"] } }, "test");

test("limits over our own are refused by name without the capability, and given with it", () => {
  assert.throws(() => containerPolicyOf(config, [], own), { code: Code.FailedPrecondition, message: /default_ulimits: nofile is over keelsond's own hard limit, 4096/ });
  assert.deepEqual(containerPolicyOf(config, ["CAP_SYS_RESOURCE"], own).defaults.rlimits, [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 8192 }]);
});

test("by default nothing is limited and devices stay whose they are", () => {
  const { defaults, deviceOwnershipFromSecurityContext, classFiles } = containerPolicyOf(parseConfig({}, "test"), [], own);
  assert.deepEqual([defaults, deviceOwnershipFromSecurityContext, classFiles], [{ pidsLimit: 0, rlimits: [] }, false, { blockIo: "/etc/keelson/blockio.yaml", rdt: "/etc/keelson/rdt.yaml" }]);
});
