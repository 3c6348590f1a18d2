import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { cgroupDirs, detectCgroups } from "@keelson/linux/cgroup.ts";
import { mountsUnder, unmount } from "@keelson/linux/mount.ts";
import { isProcessAlive } from "@keelson/linux/procfs.ts";
import { spawn } from "@keelson/linux/spawn.ts";
import { planSandboxCgroup } from "@keelson/plan/cgroup-path.ts";
import { planPodSandbox } from "@keelson/plan/pod-plan.ts";
import { podFiles } from "../records/pod-files.ts";
import { collectHostFacts } from "./host.ts";
import { LinuxPodHost } from "./pod-host.ts";

const id = "ab".repeat(32);
const cgroups = detectCgroups();
const signal = AbortSignal.timeout(30_000);

function newHost(t: TestContext, namespaceOptions: { network?: 0 | 2; pid?: 0 | 1 | 2; ipc?: 0 | 2 }) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-pod-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const config = PodSandboxConfig.fromPartial({
    metadata: { name: "p", namespace: "d", uid: "u" },
    linux: { securityContext: { namespaceOptions } },
  });
  const plan = planPodSandbox({
    config,
    runtimeHandler: "",
    host: collectHostFacts(cgroups, "cgroupfs", { recursiveReadOnlyMounts: true, idMapProblem: "" }),
    handler: { name: "crun", recursiveReadOnlyMounts: true, userNamespaces: true, sandbox: "none" },
    id,
  });
  return { dir, plan, host: new LinuxPodHost((pod) => join(dir, pod), cgroups) };
}

const cgroupsLeft = (path: string) => cgroupDirs(cgroups, path).filter((d) => existsSync(d));

test("what is made for a pod is taken down again, even twice", async (t) => {
  const { dir, plan, host } = newHost(t, { pid: 0 });
  await host.create(plan);
  const init = await host.startInit(plan);
  await host.writeHosts(plan, ["10.0.0.2"]);
  assert.ok(host.isIntact(plan, init));
  const read = { file: "sh", args: ["-c", "exec 3</dev/zero"] };
  const beside = cgroupDirs(cgroups, planSandboxCgroup(plan).path);
  assert.notEqual((await spawn({ ...read, cgroups: beside }).exited).code, 0, "its cgroup allows no device");
  assert.equal((await spawn(read).exited).code, 0);
  await host.destroy(plan, init, signal);
  await host.destroy(plan, init, signal);
  assert.equal(isProcessAlive(init.pid, init.startTicks), false);
  assert.deepEqual(mountsUnder(dir), []);
  assert.deepEqual(cgroupsLeft(plan.cgroup.path), []);
  assert.equal(existsSync(join(dir, id)), false);
});

test("the init of an unknown pod is found by its namespace and killed", async (t) => {
  const { dir, plan, host } = newHost(t, { pid: 0 });
  await host.create(plan);
  const init = await host.startInit(plan);
  await host.destroyUnknown(id);
  assert.equal(isProcessAlive(init.pid, init.startTicks), false);
  assert.deepEqual(mountsUnder(dir), []);
  // The pod's own cgroup is left to its record; the init's cgroup is gone with the init.
  await host.destroy(plan, undefined, signal);
  assert.deepEqual(cgroupsLeft(plan.cgroup.path), []);
});

test("a pod whose pin was unmounted by hand is not intact, and can still be removed", async (t) => {
  const { dir, plan, host } = newHost(t, { pid: 1 });
  await host.create(plan);
  assert.ok(host.isIntact(plan, undefined));
  unmount(podFiles(join(dir, id)).netns, { detach: true });
  assert.equal(host.isIntact(plan, undefined), false);
  await host.destroy(plan, undefined, signal);
  assert.deepEqual(mountsUnder(dir), []);
});
