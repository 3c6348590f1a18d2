import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { defaultSettings } from "../settings.ts";
import { checkOwnLimits } from "./container-policy.ts";

const own = "Max open files            1024                 4096                 files     \n";
const { containers } = defaultSettings({ root: "/r", state: "/s" });
const raised = {
  ...containers,
  defaults: { ...containers.defaults, rlimits: [{ type: "RLIMIT_NOFILE" as const, soft: 1024, hard: 8192 }] },
};

test("limits above our own are refused by name without the capability, and allowed with it", () => {
  assert.throws(() => checkOwnLimits(raised, [], own), {
    code: Code.FailedPrecondition,
    message: /default_ulimits: nofile is over keelsond's own hard limit, 4096/,
  });
  checkOwnLimits(raised, ["CAP_SYS_RESOURCE"], own);
});

test("by default nothing is limited", () => {
  assert.deepEqual(containers.defaults, { pidsLimit: 0, rlimits: [] });
  checkOwnLimits(containers, [], own);
});
