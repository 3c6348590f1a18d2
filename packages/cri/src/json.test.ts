import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { messages } from "./gen/descriptor.ts";
import * as api from "./gen/runtime/v1/api.ts";
import { fromJson, toConfigJson, toJson } from "./json.ts";

test("the table names every property that the generated types have", () => {
  const types = api as unknown as Record<string, { fromPartial: (v: object) => object }>;
  for (const [type, fields] of Object.entries(messages)) {
    assert.deepEqual(Object.keys(types[type]!.fromPartial({})).sort(), fields.map((f) => f.key).sort(), type);
  }
});

test("JSON has every field: enums by name, 64-bit numbers as text, absent messages as null", () => {
  const status = api.ContainerStatus.fromPartial({ id: "c1", state: 1, createdAt: 5n, labels: { a: "b" } });
  const json = toJson("ContainerStatus", status);
  assert.equal(json["state"], "CONTAINER_RUNNING");
  assert.equal(json["createdAt"], "5");
  assert.equal(json["finishedAt"], "0");
  assert.equal(json["metadata"], null);
  assert.deepEqual(json["labels"], { a: "b" });
  assert.deepEqual(json["mounts"], []);
});

test("what toJson wrote, fromJson reads back", () => {
  const config = api.ContainerConfig.fromPartial({
    metadata: { name: "web", attempt: 2 },
    image: { image: "busybox" },
    envs: [{ key: "K", value: Buffer.from("v") }],
    mounts: [{ containerPath: "/data", hostPath: "/srv", propagation: 2 }],
    linux: { resources: { memoryLimitInBytes: 2n ** 40n }, securityContext: { runAsUser: { value: 0n } } },
    stopSignal: 10,
  });
  assert.deepEqual(
    api.ContainerConfig.fromPartial(fromJson("ContainerConfig", toJson("ContainerConfig", config))),
    config,
  );
});

test("a config as JSON looks like crictl's files: only fields that are set, in snake case, enums as numbers", () => {
  const config = api.ContainerConfig.fromPartial({
    metadata: { name: "web", attempt: 0 },
    envs: [{ key: "K", value: Buffer.from("v") }],
    labels: {},
    mounts: [{ containerPath: "/data", propagation: 2 }],
    linux: {
      resources: { memoryLimitInBytes: 2n ** 60n + 1n, oomScoreAdj: -5n },
      securityContext: { runAsUser: { value: 0n } },
    },
  });
  const text = JSON.stringify(toConfigJson("ContainerConfig", config));
  assert.equal(
    text,
    '{"metadata":{"name":"web"},"envs":[{"key":"K","value":"dg=="}],"mounts":[{"container_path":"/data","propagation":2}],"linux":{"resources":{"memory_limit_in_bytes":"1152921504606846977","oom_score_adj":-5},"security_context":{"run_as_user":{}}}}',
  );
  const read = api.ContainerConfig.fromPartial(fromJson("ContainerConfig", JSON.parse(text)));
  assert.deepEqual(read, config);
});

test("crictl's files are read: snake case, enums as numbers", () => {
  const json = {
    metadata: { name: "p", namespace: "d" },
    log_directory: "/tmp",
    linux: { security_context: { namespace_options: { pid: 1 } } },
  };
  const config = api.PodSandboxConfig.fromPartial(fromJson("PodSandboxConfig", json));
  assert.equal(config.logDirectory, "/tmp");
  assert.equal(config.linux?.securityContext?.namespaceOptions?.pid, api.NamespaceMode.CONTAINER);
});

for (const [json, message] of [
  [{ metdata: {} }, /PodSandboxConfig\.metdata is not a field/],
  [{ hostname: 7 }, /PodSandboxConfig\.hostname must be text/],
  [{ metadata: { attempt: -1 } }, /metadata\.attempt must be from 0 to 4294967295/],
  [{ port_mappings: [{ protocol: "ICMP" }] }, /port_mappings\[0\]\.protocol must be one of TCP \(0\)/],
  [{ labels: { a: 1 } }, /labels\.a must be text/],
  [[], /must be an object/],
] as const) {
  test(`a wrong file is refused, naming the place: ${message.source}`, () => {
    assert.throws(
      () => fromJson("PodSandboxConfig", json),
      (e) => e instanceof StatusError && e.code === Code.InvalidArgument && message.test(e.message),
    );
  });
}
