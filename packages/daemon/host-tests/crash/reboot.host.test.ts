// The machine goes down: processes, mounts, namespaces and all that is in /run are gone, and the boot id is another one.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ContainerState, NamespaceMode, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { Pod } from "../testing/test-node.ts";
import { CrashNode } from "./testing/crash-node.ts";
import { assertAgrees, counterScript } from "./testing/crash-rounds.ts";

const podPid = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } };

/** Kills the daemon and takes away what a boot takes away. */
async function goDown(crash: CrashNode): Promise<void> {
  await crash.kill();
  await waitFor(() => {
    const pids = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
    return pids.filter(killIfOfPod).length === 0;
  });
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "");
  for (const target of mounts.filter((target) => target.startsWith(`${crash.node.state}/`)).toReversed())
    execFileSync("umount", [target]);
  rmSync(crash.node.state, { recursive: true });
  for (const what of ["-F", "-X"]) execFileSync("iptables", ["-t", "nat", what]);
  for (const hierarchy of readdirSync("/sys/fs/cgroup")) {
    execFileSync("find", [
      `/sys/fs/cgroup/${hierarchy}/`,
      "-depth",
      "-mindepth",
      "1",
      "-type",
      "d",
      "-name",
      "*[0-9a-f]*",
      "-path",
      "*keelson-*",
      "-delete",
    ]);
  }
}

/** Kills a monitor, an init or a process in a pod's cgroup; false for any other. */
function killIfOfPod(pid: number): boolean {
  try {
    const isTool = /^(\/usr\/bin\/conmon|keelson-pod-init)/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
    if (!isTool && !/keelson-[0-9a-f]{64}/.test(readFileSync(`/proc/${pid}/cgroup`, "utf8"))) return false;
    process.kill(pid, "SIGKILL");
    return true;
  } catch {
    return false; // it has just ended
  }
}

/** What runs, waits and has ended in two pods. */
async function populate(crash: CrashNode) {
  const pods = [
    await crash.runPod({ portMappings: [{ containerPort: 80, hostPort: 18090 }] }),
    await crash.runPod({ linux: podPid }),
  ] as const;
  const running = await crash.runContainer(pods[0], counterScript);
  const other = await crash.runContainer(pods[1], counterScript);
  const created = await crash.createContainer(pods[0], crash.node.containerConfig(counterScript));
  const ended = await crash.runContainer(pods[0], "exit 3");
  await waitFor(async () => (await crash.containerStatus(ended)).state === ContainerState.CONTAINER_EXITED);
  return { pods, running, other, created, ended };
}

async function checkWorks(crash: CrashNode, pods: readonly Pod[]): Promise<void> {
  for (const pod of pods) {
    await assert.rejects(crash.createContainer(pod, crash.node.containerConfig("true")), /not ready/);
    await crash.removePod(pod.id);
  }
  await assertAgrees(crash);
  await crash.pull(crash.node.image);
  // As a kubelet does it, with the next attempt.
  const { metadata, ...config } = pods[0]!.config;
  const again = await crash.runPod({ ...config, metadata: { ...metadata!, attempt: 1 } });
  const id = await crash.runContainer(again, counterScript);
  await crash.untilLogged(id, "3");
  await assertAgrees(crash);
  await crash.removePod(again.id);
}

test("a reboot ends all containers with NodeRebooted and gives back their addresses", { skip }, async () => {
  await using crash = await CrashNode.start();
  const { pods, running, other, created, ended } = await populate(crash);
  const endedBefore = await crash.containerStatus(ended);
  const atNs = BigInt(Date.now()) * 1_000_000n;
  await goDown(crash);
  const dels = join(crash.node.dir, "dels");
  crash.trap("bridge DEL", `tee -a '${dels}' | "$real"; exit $?`);
  await crash.startAgain("00000000-0000-4000-8000-000000000001");
  for (const id of [running, other, created]) {
    const status = await crash.containerStatus(id);
    assert.deepEqual(
      [status.state, status.exitCode, status.reason],
      [ContainerState.CONTAINER_EXITED, 255, "NodeRebooted"],
    );
    assert.ok(status.finishedAt >= atNs);
    assert.notEqual(status.message, "");
  }
  assert.deepEqual(await crash.containerStatus(ended), endedBefore);
  for (const { id } of pods) assert.equal((await crash.podStatus(id)).state, PodSandboxState.SANDBOX_NOTREADY);
  const { prevResult } = JSON.parse(readFileSync(dels, "utf8").split("\n")[0]!) as {
    prevResult: { ips: { address: string }[] };
  };
  assert.match(prevResult.ips[0]!.address, /^10\.99\./);
  await assertAgrees(crash);
  await checkWorks(crash, pods);
});

test("after a reboot the plugins are told which attachments are left, when they know GC", { skip }, async () => {
  await using crash = await CrashNode.start({ network: false });
  const calls = join(crash.node.dir, "calls");
  const plugin = join(crash.node.dir, "tools/noter");
  writeFileSync(
    plugin,
    `#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $(cat)" >>'${calls}'
[ $CNI_COMMAND = ADD ] && echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.97.0.5/24"}]}'
exit 0
`,
  );
  chmodSync(plugin, 0o755);
  writeFileSync(
    crash.node.networkFile,
    JSON.stringify({ cniVersion: "1.1.0", name: "keel", plugins: [{ type: "noter" }] }),
  );
  await waitFor(
    async () =>
      (await crash.call("status", { verbose: false })).status!.conditions.every((condition) => condition.status),
    { timeoutMs: 20_000 },
  );
  const pod = await crash.runPod();
  await crash.runContainer(pod, counterScript);
  await goDown(crash);
  rmSync(calls);
  await crash.startAgain("00000000-0000-4000-8000-000000000002");
  const lines = readFileSync(calls, "utf8")
    .trim()
    .split("\n")
    .map((line) => /^(\w+) (\w*) (.*)$/.exec(line)!.slice(1) as [string, string, string]);
  const del = lines.find(([command, id]) => command === "DEL" && id === pod.id);
  assert.deepEqual((JSON.parse(del![2]) as { prevResult: { ips: object[] } }).prevResult.ips, [
    { address: "10.97.0.5/24" },
  ]);
  const gc = lines.findLast(([command]) => command === "GC");
  assert.deepEqual((JSON.parse(gc![2]) as Record<string, unknown>)["cni.dev/valid-attachments"], []);
  assert.equal((await crash.podStatus(pod.id)).state, PodSandboxState.SANDBOX_NOTREADY);
  await crash.removePod(pod.id);
});
