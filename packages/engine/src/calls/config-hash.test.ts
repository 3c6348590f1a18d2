import assert from "node:assert/strict";
import { test } from "node:test";
import { PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { configHash } from "./config-hash.ts";

const hashOf = (config: object) => configHash("PodSandboxConfig", PodSandboxConfig.fromPartial(config));

test("the order of labels makes no difference, but their content does", () => {
  assert.equal(hashOf({ labels: { a: "1", b: "2" } }), hashOf({ labels: { b: "2", a: "1" } }));
  assert.notEqual(hashOf({ labels: { a: "1", b: "2" } }), hashOf({ labels: { a: "2", b: "1" } }));
});

test("the order of lists makes a difference", () => {
  assert.notEqual(
    hashOf({ dnsConfig: { servers: ["1.1.1.1", "2.2.2.2"] } }),
    hashOf({ dnsConfig: { servers: ["2.2.2.2", "1.1.1.1"] } }),
  );
});
