import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createCriClient } from "@keelson/cri/client.ts";
import { ContainerState, NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { linesOf, logSoFar } from "./testing/cri-log.ts";
import { cgroupDriver, keelsond, runtimes, skip as noSandbox, TestNode } from "./testing/test-node.ts";

const skip = noSandbox || (cgroupDriver === "systemd" ? false : "needs systemd: npm run test:guest -- --driver systemd systemd");
const cgroupRoot = "/sys/fs/cgroup";
const namespaceOptions = { pid: NamespaceMode.POD, network: NamespaceMode.NODE };

function systemctl(...args: string[]): string {
  return execFileSync("systemctl", args, { encoding: "utf8" });
}

function loadedUnits(pattern: string): string[] {
  return systemctl("list-units", "--all", "--plain", "--no-legend", pattern).split("\n").filter(Boolean).map((line) => line.split(" ")[0]!);
}

/** The path of a process in the one tree of cgroup v2. */
function cgroupOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().replace(/^0::/, "");
}

for (const runtime of runtimes) {
  test(`a kubelet's pod is in scopes of its slice, with its limits, and leaves the slice empty, with ${runtime}`, { skip }, async (t) => {
    await using node = await TestNode.start({ runtime });
    const slice = `kubepods-pod${process.pid}.slice`;
    const parent = `/kubepods.slice/${slice}`;
    // As a kubelet does; the slice is its own, and so is its end.
    execFileSync("busctl", ["-q", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", slice, "fail", "0", "0"]);
    await waitFor(() => existsSync(join(cgroupRoot, parent)));
    t.after(() => systemctl("stop", "kubepods.slice"));
    {
      const pod = await node.runPod({ linux: { cgroupParent: parent, securityContext: { namespaceOptions } } });
      const id = await node.runContainer(pod, { command: ["sleep", "1000"], linux: { resources: { memoryLimitInBytes: 64n << 20n, cpuQuota: 50_000n, cpuPeriod: 100_000n } } });
      const { pid, cgroup } = await node.containerInfo(id);
      assert.equal(cgroup, `${parent}/keelson-${id}.scope`);
      assert.equal(cgroupOf(pid), cgroup);
      assert.equal(readFileSync(join(cgroupRoot, cgroup, "memory.max"), "utf8"), `${64 << 20}\n`);
      assert.equal(readFileSync(join(cgroupRoot, cgroup, "cpu.max"), "utf8"), "50000 100000\n");
      assert.deepEqual(loadedUnits("keelson-*.scope").sort(), [`keelson-${id}.scope`, `keelson-init-${pod.id}.scope`].sort());
      await node.removePod(pod.id);
    }
    assert.deepEqual(loadedUnits("keelson-*.scope"), []);
    assert.ok(existsSync(join(cgroupRoot, parent)), "the kubelet's slice is still there");
    systemctl("stop", "kubepods.slice");
    await waitFor(() => !existsSync(join(cgroupRoot, parent)));
  });

  test(`a pod without a parent has a slice of its own, which systemd forgets with it, with ${runtime}`, { skip }, async () => {
    await using node = await TestNode.start({ runtime });
    const pod = await node.runPod({ linux: { securityContext: { namespaceOptions } } });
    const id = await node.runContainer(pod, { command: ["sleep", "1000"] });
    const { pid } = await node.containerInfo(id);
    assert.equal(cgroupOf(pid), `/keelson.slice/keelson-${pod.id}.slice/keelson-${id}.scope`);
    await node.stopContainer(id, 0);
    await node.removePod(pod.id);
    assert.deepEqual(loadedUnits("keelson-*"), []);
    assert.equal(existsSync(join(cgroupRoot, `keelson.slice/keelson-${pod.id}.slice`)), false);
  });
}

test("with the unit that ships, containers run and log on while keelsond is restarted", { skip }, async (t) => {
  await using node = await TestNode.start({ network: false });
  await node.stop();
  const unit = "/run/systemd/system/keelsond.service";
  const shipped = readFileSync(join(import.meta.dirname, "../../../packaging/keelsond.service"), "utf8");
  const environment = ["NODE_OPTIONS", "NODE_COMPILE_CACHE"].map((name) => `Environment="${name}=${process.env[name] ?? ""}"`).join("\n");
  writeFileSync(unit, shipped.replace(/^ExecStart=.*$/m, `ExecStart=${keelsond} --config ${node.configFile}\n${environment}`));
  t.after(() => {
    systemctl("stop", "keelsond");
    rmSync(unit);
    systemctl("daemon-reload");
  });
  systemctl("daemon-reload");
  systemctl("start", "keelsond");
  await waitFor(() => existsSync(node.socketPath));
  const daemonPid = () => Number(systemctl("show", "--property=MainPID", "--value", "keelsond"));
  const firstPid = daemonPid();
  // The unit is in the machine's own namespaces, not in this test's: only it can take down what it made.
  const client = createCriClient(node.endpoint);
  t.after(() => client.close());
  const call = <N extends UnaryCallName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> => client.call(name, request, AbortSignal.timeout(120_000));
  const status = async (containerId: string) => (await call("containerStatus", { containerId, verbose: false })).status!;

  const config = node.podConfig({ linux: { securityContext: { namespaceOptions } } });
  const { podSandboxId } = await call("runPodSandbox", { config, runtimeHandler: "" });
  const container = node.containerConfig("i=0; while sleep 0.1; do echo $((i+=1)); done");
  const { containerId } = await call("createContainer", { podSandboxId, config: container, sandboxConfig: config });
  await call("startContainer", { containerId });
  const { logPath } = await status(containerId);
  const lines = () => linesOf(logSoFar(logPath));
  await waitFor(() => existsSync(logPath) && lines().length > 3);

  const { info } = await call("containerStatus", { containerId, verbose: true });
  const { pid } = JSON.parse(info["info"]!) as { pid: number };
  systemctl("restart", "keelsond");
  await waitFor(() => call("version", { version: "" }).catch(() => undefined), { timeoutMs: 30_000 });
  assert.notEqual(daemonPid(), firstPid);
  const logged = lines().length;
  assert.equal((await status(containerId)).state, ContainerState.CONTAINER_RUNNING);
  assert.equal(JSON.parse((await call("containerStatus", { containerId, verbose: true })).info["info"]!).pid, pid);
  await waitFor(() => lines().length > logged + 3);
  assert.deepEqual(lines(), lines().map((_, i) => String(i + 1)), "no line is lost");

  await call("stopPodSandbox", { podSandboxId });
  await call("removePodSandbox", { podSandboxId });
});
