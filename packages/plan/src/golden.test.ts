import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { codeName, StatusError } from "@keelson/base/status.ts";
import { PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fieldsOf, fromJson } from "@keelson/cri/json.ts";
import { noAnnotations } from "./annotation-globs.ts";
import { parseBaseSpec, withBaseSpec } from "./base-spec.ts";
import { withCdiEdits } from "./cdi.ts";
import { containerSpec } from "./container-spec.ts";
import type { MountSource } from "./mounts.ts";
import type { PodPlan } from "./pod-plan.ts";
import { type ConfigType, fieldState } from "./refused-fields.ts";
import { sandboxSpec } from "./sandbox-spec.ts";
import { containerFrom, hostFrom, podFrom, type PlanFixture } from "./testing/plan-fixture.ts";
import { resolveUser } from "./user.ts";

// KEELSON_UPDATE_GOLDEN=1 writes the results to the files, so that the difference can be reviewed.
const update = process.env["KEELSON_UPDATE_GOLDEN"] === "1";
const testdata = new URL("./testdata/", import.meta.url);

for (const name of readdirSync(testdata)) {
  test(`golden: ${name}`, () => {
    const fixture = JSON.parse(readFileSync(new URL(`${name}/input.json`, testdata), "utf8")) as PlanFixture;
    const refusal = refusalOf(fixture);
    if (refusal !== undefined) return compare(`${name}/error.json`, refusal);
    const pod = podFrom(fixture);
    compare(`${name}/pod.json`, pod);
    compare(`${name}/spec.json`, specFrom(fixture, pod));
    if (pod.sandbox === "container") compare(`${name}/sandbox.json`, sandboxSpecFrom(fixture, pod));
  });
}

test("every field that is honoured is in a golden case", () => {
  const fixtures = readdirSync(testdata).map(
    (name) => JSON.parse(readFileSync(new URL(`${name}/input.json`, testdata), "utf8")) as PlanFixture,
  );
  const missing = (type: ConfigType, jsons: (object | undefined)[]) => {
    const set = new Set(jsons.flatMap((json) => pathsIn(type, json ?? {})));
    return honouredLeaves(type, type).filter((path) => !set.has(path));
  };
  assert.deepEqual(
    [
      ...missing(
        "PodSandboxConfig",
        fixtures.map((fixture) => fixture.pod),
      ),
      ...missing(
        "ContainerConfig",
        fixtures.map((fixture) => fixture.container),
      ),
    ],
    [],
  );
});

function honouredLeaves(type: ConfigType, message: string, parent = ""): string[] {
  return fieldsOf(message).flatMap((field) => {
    const path = parent === "" ? field.name : `${parent}.${field.name}`;
    if (field.kind === "message") return honouredLeaves(type, field.of!, path);
    return fieldState(type, path)?.is === "honoured" ? [path] : [];
  });
}

/** The fields that are set in a config in JSON, whatever their values. */
function pathsIn(message: string, json: object, parent = ""): string[] {
  return Object.entries(json).flatMap(([key, value]: [string, unknown]) => {
    const field = fieldsOf(message).find(({ name, key: camel }) => name === key || camel === key)!;
    const path = parent === "" ? field.name : `${parent}.${field.name}`;
    const values = Array.isArray(value) ? value : [value];
    return field.kind === "message" ? values.flatMap((v) => pathsIn(field.of!, v as object, path)) : [path];
  });
}

function sandboxSpecFrom(
  { host, pod: json, annotationGlobs = noAnnotations, baseSpec = {} }: PlanFixture,
  pod: PodPlan,
): object {
  const config = PodSandboxConfig.fromPartial(fromJson("PodSandboxConfig", json ?? {}));
  const pins = { user: "/run/pod/userns", network: "/run/pod/netns", ipc: "/run/pod/ipcns", uts: "/run/pod/utsns" };
  const podFiles = { hostname: "/run/pod/hostname", resolvConf: "/run/pod/resolv.conf", shm: "/run/pod/shm" };
  const spec = sandboxSpec({
    pod,
    host: hostFrom(host),
    rootfsPath: "/run/pod/sandbox/pod1/rootfs",
    namespacePaths: pins,
    podFiles,
    resources: config.linux?.resources,
    annotationGlobs,
  });
  return withBaseSpec(spec, parseBaseSpec(JSON.stringify(baseSpec)));
}

/** The error that a client gets for a pod or container that is refused; undefined for one that is not. */
function refusalOf(fixture: PlanFixture): object | undefined {
  try {
    specFrom(fixture, podFrom(fixture));
    return undefined;
  } catch (error) {
    if (error instanceof StatusError) return { code: codeName(error.code), message: error.message };
    throw error;
  }
}

function specFrom(fixture: PlanFixture, pod: ReturnType<typeof podFrom>): object {
  const { plan, host } = containerFrom(fixture, pod);
  const dir = `/run/keelson/pods/${pod.id}`;
  const spec = containerSpec({
    plan,
    pod,
    host,
    rootfsPath: `/run/keelson/containers/${plan.id}/rootfs`,
    user: resolveUser(plan.user, fixture.passwd, fixture.group),
    namespacePaths: {
      user: `${dir}/userns`,
      network: `${dir}/netns`,
      ipc: `${dir}/ipcns`,
      uts: `${dir}/utsns`,
      pid: fixture.pidNamespacePath ?? `${dir}/pidns`,
    },
    podFiles: {
      hosts: `${dir}/hosts`,
      hostname: `${dir}/hostname`,
      resolvConf: `${dir}/resolv.conf`,
      shm: pod.ipc === "own" ? `${dir}/shm` : "/dev/shm",
      sysfs: `${dir}/sysfs`,
    },
    mountSources: plan.mounts.map((mount, i) => sourceIn(fixture, mount.source, i)),
    sourceTraits: fixture.sourceTraits ?? {},
    devices: fixture.devices ?? [],
    hostDevices: fixture.hostDevices ?? [],
    allDevicesAllowed: plan.privileged,
    ...(fixture.localhostSeccomp === undefined ? {} : { localhostSeccomp: fixture.localhostSeccomp }),
  });
  const based =
    fixture.baseSpec === undefined ? spec : withBaseSpec(spec, parseBaseSpec(JSON.stringify(fixture.baseSpec)));
  return fixture.cdi === undefined ? based : withCdiEdits(based, fixture.cdi, host);
}

/** Where the engine would find the source on the machine. */
function sourceIn({ resolvedHostPaths = {} }: PlanFixture, source: MountSource, index: number): string {
  switch (source.is) {
    case "host":
      return resolvedHostPaths[source.path] ?? source.path;
    case "image":
      return join("/run/keelson/containers/container1/images", String(index), source.subPath);
    case "volume":
      return `/var/lib/keelson/containers/container1/volumes/${index}`;
  }
}

function compare(file: string, value: object): void {
  const url = new URL(file, testdata);
  const text = `${JSON.stringify(value, null, 2)}\n`;
  if (update) writeFileSync(url, text);
  assert.ok(existsSync(url), `${file} is missing; create it with KEELSON_UPDATE_GOLDEN=1`);
  assert.deepEqual(JSON.parse(text), JSON.parse(readFileSync(url, "utf8")));
}
