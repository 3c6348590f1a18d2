import assert from "node:assert/strict";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ContainerConfig, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { handlerFrom, hostFrom } from "./testing/plan-fixture.ts";

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

test("the README's example works", async (t) => {
  // Beside the source, where the packages' names are found.
  const dir = mkdtempSync(join(import.meta.dirname, "../.readme-"));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "example.ts"), /```ts\n([^]*?)```/.exec(readme)?.[1] ?? "");
  const example = (await import(join(dir, "example.ts"))) as { specOf: (...args: object[]) => Spec };
  const files = { hosts: "/h", hostname: "/n", resolvConf: "/r", shm: "/s", sysfs: "/sys" };
  const spec = example.specOf(
    {
      pod: PodSandboxConfig.fromPartial({ metadata: { name: "web", namespace: "default", uid: "1" } }),
      container: ContainerConfig.fromPartial({ metadata: { name: "main" }, args: ["hello"] }),
    },
    {
      id: "sha256:1",
      config: { user: "", env: [], entrypoint: ["echo"], cmd: [], workingDir: "", stopSignal: "", volumes: [] },
    },
    { host: hostFrom(), handler: handlerFrom() },
    {
      rootfsPath: "rootfs",
      user: { uid: 0, gid: 0, additionalGids: [0] },
      namespacePaths: { network: "/net", ipc: "/ipc", uts: "/uts", pid: "/pid" },
      podFiles: files,
      mountSources: [],
      sourceTraits: {},
      devices: [],
      hostDevices: [],
      allDevicesAllowed: false,
    },
  );
  assert.deepEqual(spec.process?.args, ["echo", "hello"]);
  assert.equal(spec.linux?.cgroupsPath, "/keelson-p1/c1");
});

test("the README names every file", () => {
  const files = globSync("*.ts", { cwd: import.meta.dirname }).filter((name) => !name.endsWith(".test.ts"));
  assert.deepEqual(
    files.filter((name) => !readme.includes(`\`${name}\``)),
    [],
  );
});
