import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { StatusError } from "@keelson/base/status.ts";
import { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fieldsOf } from "@keelson/cri/json.ts";
import { deviceRules } from "./devices.ts";
import type { HostFacts } from "./host-facts.ts";
import { limitFiles } from "./resource-update.ts";
import { containerFrom, hostFrom, podFrom, type PlanFixture } from "./testing/plan-fixture.ts";

// KEELSON_UPDATE_GOLDEN=1 writes the results to the files, so that the difference can be reviewed.
const update = process.env["KEELSON_UPDATE_GOLDEN"] === "1";
const testdata = new URL("./resources-testdata/", import.meta.url);

/** The cgroups that users have. For systemd the slice is sent as by a kubelet with that driver. */
const layouts: Record<string, { host: Partial<HostFacts>; cgroupParent: string }> = {
  v1: {
    host: {
      cgroupVersion: "v1",
      controllers: ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids"],
    },
    cgroupParent: "/kubepods/burstable/pod0f3a",
  },
  hybrid: {
    host: { cgroupVersion: "hybrid", controllers: ["blkio", "cpu", "cpuset", "devices", "hugetlb", "memory", "pids"] },
    cgroupParent: "/kubepods/burstable/pod0f3a",
  },
  "v2, cgroupfs": { host: { cgroupVersion: "v2" }, cgroupParent: "/kubepods/burstable/pod0f3a" },
  "v2, systemd": {
    host: { cgroupVersion: "v2", cgroupDriver: "systemd" },
    cgroupParent: "kubepods-burstable-pod0f3a.slice",
  },
};

interface Input extends PlanFixture {
  pod?: { linux?: object };
  container?: { linux?: { resources?: object } };
}

function inputOf(name: string): Input {
  return JSON.parse(readFileSync(new URL(`${name}/input.json`, testdata), "utf8")) as Input;
}

/** The limits in a container's spec, and the files that an update writes in addition; or why they are refused. */
function limitsOn(layout: string, fixture: Input): object {
  const { host, cgroupParent } = layouts[layout]!;
  const facts = { ...host, ...fixture.host };
  const pod = podFrom({
    ...fixture,
    host: facts,
    pod: { ...fixture.pod, linux: { ...fixture.pod?.linux, cgroup_parent: cgroupParent } },
  });
  try {
    const { plan, config } = containerFrom({ ...fixture, host: facts }, pod);
    const files = limitFiles(config.linux?.resources ?? LinuxContainerResources.fromPartial({}), hostFrom(facts));
    return {
      cgroupsPath: plan.cgroup.cgroupsPath,
      oomScoreAdj: plan.oomScoreAdj.value,
      resources: { devices: deviceRules(fixture.devices ?? [], plan.privileged), ...plan.resources },
      ...(files.length > 0 ? { filesAtUpdate: files.map(({ file, value }) => `${file}=${value}`) } : {}),
    };
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    return { refused: error.message };
  }
}

for (const name of readdirSync(testdata)) {
  test(`limits: ${name}`, () => {
    const fixture = inputOf(name);
    const spec = Object.fromEntries(Object.keys(layouts).map((layout) => [layout, limitsOn(layout, fixture)]));
    const url = new URL(`${name}/spec.json`, testdata);
    const text = `${JSON.stringify(spec, null, 2)}\n`;
    if (update) writeFileSync(url, text);
    assert.ok(existsSync(url), `${name}/spec.json is missing; create it with KEELSON_UPDATE_GOLDEN=1`);
    assert.deepEqual(JSON.parse(text), JSON.parse(readFileSync(url, "utf8")));
  });
}

test("every field of LinuxContainerResources has a case of its own", () => {
  const alone = readdirSync(testdata).flatMap((name) => {
    const resources = inputOf(name).container?.linux?.resources;
    const keys = Object.keys(resources ?? {});
    return keys.length === 1 ? keys : [];
  });
  // A swap limit includes memory, so it cannot be set alone.
  const fields = fieldsOf("LinuxContainerResources")
    .map((field) => field.name)
    .filter((field) => field !== "memory_swap_limit_in_bytes");
  assert.deepEqual(
    fields.filter((field) => !alone.includes(field)),
    [],
  );
});
