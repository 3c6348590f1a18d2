import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { ContainerConfig, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fieldsOf, fromJson } from "@keelson/cri/json.ts";
import { fieldState, refuseUnhonouredFields, statedPaths, type ConfigType } from "./refused-fields.ts";

const types: ConfigType[] = ["PodSandboxConfig", "ContainerConfig", "UpdateContainerResourcesRequest"];

function leavesOf(message: string, path = ""): string[] {
  return fieldsOf(message).flatMap((field) => {
    const own = path === "" ? field.name : `${path}.${field.name}`;
    return field.kind === "message" ? leavesOf(field.of!, own) : [own];
  });
}

for (const type of types) {
  test(`every field of ${type} has exactly one state`, () => {
    const leaves = leavesOf(type);
    const stated = statedPaths(type);
    for (const leaf of leaves) {
      assert.ok(fieldState(type, leaf) !== undefined, `${leaf} has no state`);
      assert.equal(
        stated.filter((path) => leaf === path || leaf.startsWith(`${path}.`)).length,
        1,
        `${leaf} has more than one state`,
      );
    }
    for (const path of stated)
      assert.ok(
        leaves.some((leaf) => leaf === path || leaf.startsWith(`${path}.`)),
        `${path} is not a field of ${type}`,
      );
  });
}

const pod = (json: object) =>
  refuseUnhonouredFields("PodSandboxConfig", PodSandboxConfig.fromPartial(fromJson("PodSandboxConfig", json)));
const container = (json: object) =>
  refuseUnhonouredFields("ContainerConfig", ContainerConfig.fromPartial(fromJson("ContainerConfig", json)));

test("a field for Windows is refused", () => {
  assert.throws(() => pod({ windows: { security_context: { host_process: true } } }), {
    code: Code.InvalidArgument,
    message: /^windows /,
  });
  assert.throws(() => container({ windows: { resources: { cpu_count: "2" } } }), {
    code: Code.InvalidArgument,
    message: /^windows /,
  });
});

test("empty messages, defaults and hints are accepted", () => {
  pod({
    windows: {},
    linux: { overhead: { memory_limit_in_bytes: "1" }, security_context: { run_as_user: { value: "1" } } },
  });
  container({ windows: { security_context: { run_as_username: "" } }, mounts: [{ image: {} }] });
});

test("a number that is not a value of its enum is refused", () => {
  const config = PodSandboxConfig.fromPartial({ portMappings: [{ protocol: 9 as never }] });
  assert.throws(() => refuseUnhonouredFields("PodSandboxConfig", config), {
    code: Code.InvalidArgument,
    message: /^port_mappings\[0\]\.protocol 9 /,
  });
});
