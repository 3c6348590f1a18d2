// Stats and metrics of real containers, beside what is read from the kernel without the daemon.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { controllerDir, detectCgroups } from "@keelson/linux/cgroup.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { type Pod, TestNode } from "../testing/test-node.ts";

describe("stats", { skip }, () => {
  let node: TestNode;
  let pod: Pod;
  before(async () => {
    node = await TestNode.start();
    pod = await node.runPod();
  });
  after(() => node[Symbol.asyncDispose]());

  const statsOf = async (id: string) => (await node.call("containerStats", { containerId: id })).stats!;
  const mainPid = async (id: string) =>
    (
      JSON.parse((await node.call("containerStatus", { containerId: id, verbose: true })).info["info"]!) as {
        pid: number;
      }
    ).pid;

  /** A file of a container's cgroup, as one sees it without asking the daemon. */
  async function cgroupFile(id: string, controller: string, v1: string, v2: string): Promise<string> {
    const layout = detectCgroups();
    const { cgroup } = JSON.parse(
      (await node.call("containerStatus", { containerId: id, verbose: true })).info["info"]!,
    ) as { cgroup: string };
    return readFileSync(
      layout.kind === "v2" ? join(layout.root, cgroup, v2) : join(controllerDir(layout, cgroup, controller)!, v1),
      "utf8",
    );
  }

  test("count the CPU time of a busy container, and how fast it goes, from the first answer on", async () => {
    const id = await node.runContainer(pod, {
      command: ["sh", "-c", "while :; do :; done"],
      linux: { resources: { cpuPeriod: 100_000n, cpuQuota: 50_000n } },
    });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const { cpu } = await statsOf(id);
    const now = BigInt(
      (await cgroupFile(id, "cpuacct", "cpuacct.usage", "cpu.stat")).replace(/^usage_usec (\d+)[^]*$/, "$1000").trim(),
    );
    assert.ok(
      cpu!.usageCoreNanoSeconds!.value > 100_000_000n && cpu!.usageCoreNanoSeconds!.value <= now,
      `${cpu!.usageCoreNanoSeconds!.value} of ${now}`,
    );
    // Half a core is allowed; on a busy machine it gets less.
    assert.ok(
      cpu!.usageNanoCores!.value > 20_000_000n && cpu!.usageNanoCores!.value < 700_000_000n,
      `${cpu!.usageNanoCores!.value}`,
    );
    await node.removeContainer(id);
  });

  test("have memory, its limit, swap and page faults as the cgroup has them, and the writable layer as it was written", async () => {
    const id = await node.runContainer(pod, {
      command: [
        "sh",
        "-c",
        "head -c 3000000 /dev/zero >/written; x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo ready; sleep 600; true",
      ],
      linux: { resources: { memoryLimitInBytes: 64n << 20n } },
    });
    await waitFor(async () => (await node.log(id)).length > 0);
    // The kernel adds up memory.stat every two seconds.
    const { memory, swap, writableLayer } = await waitFor(async () => {
      const stats = await statsOf(id);
      return stats.memory!.rssBytes!.value > 8_000_000n ? stats : undefined;
    });
    const usage = BigInt((await cgroupFile(id, "memory", "memory.usage_in_bytes", "memory.current")).trim());
    assert.ok(
      memory!.usageBytes!.value > usage / 2n && memory!.usageBytes!.value < usage * 2n,
      `${memory!.usageBytes!.value} of ${usage}`,
    );
    assert.ok(memory!.workingSetBytes!.value <= memory!.usageBytes!.value);
    assert.equal(memory!.availableBytes!.value, (64n << 20n) - memory!.workingSetBytes!.value);
    assert.ok(memory!.pageFaults!.value > 1000n);
    assert.equal(swap?.swapUsageBytes?.value ?? 0n, 0n);
    assert.equal(writableLayer!.fsId!.mountpoint, join(node.root, "containers"));
    assert.ok(writableLayer!.usedBytes!.value >= 3_000_000n, `${writableLayer!.usedBytes!.value}`);
    assert.ok(writableLayer!.usedBytes!.value < 4_000_000n && writableLayer!.inodesUsed!.value < 20n);
    await node.removeContainer(id);
  });

  test("of a pod have its interface from inside its network, and all of its threads", async () => {
    const id = await node.runContainer(pod, "sleep 600 & sleep 600 & echo up; wait");
    await node.untilLogged(id, "up");
    const { stats } = await node.call("podSandboxStats", { podSandboxId: pod.id });
    const seen = await node.output(id, "cat /sys/class/net/eth0/statistics/rx_bytes");
    const { defaultInterface, interfaces } = stats!.linux!.network!;
    assert.equal(defaultInterface!.name, "eth0");
    assert.ok(defaultInterface!.rxBytes!.value <= BigInt(seen.trim()));
    assert.deepEqual(interfaces, []);
    assert.ok(stats!.linux!.process!.processCount!.value >= 3n);
    assert.deepEqual(
      stats!.linux!.containers.map((c) => c.attributes!.id),
      [id],
    );
    await node.removeContainer(id);
  });

  test("of a pod in the host's network have no interfaces, which are not its own", async () => {
    const host = await node.runPod({
      linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } },
    });
    const { stats } = await node.call("podSandboxStats", { podSandboxId: host.id });
    assert.equal(stats!.linux!.network, undefined);
    await node.removePod(host.id);
  });

  test("metrics agree with what is read of /proc and of the cgroup", async () => {
    const id = await node.runContainer(pod, {
      command: ["sh", "-c", "ulimit -Sn 500; exec 7</etc/passwd; sleep 600 & exec sleep 600"],
      linux: {
        resources: { cpuPeriod: 100_000n, cpuQuota: 20_000n, cpuShares: 1024n, memoryLimitInBytes: 64n << 20n },
      },
    });
    await waitFor(async () => (await node.output(id, "ls /proc | grep -c '^[0-9]'")).trim() !== "0");
    const pid = await mainPid(id);
    await waitFor(() => /^Max open files +500 /m.test(readFileSync(`/proc/${pid}/limits`, "utf8")));
    const { descriptors } = await node.call("listMetricDescriptors", {});
    const { podMetrics } = await node.call("listPodSandboxMetrics", {});
    const of = podMetrics.find((p) => p.podSandboxId === pod.id)!;
    const { metrics } = of.containerMetrics.find((c) => c.containerId === id)!;
    const told = new Set([...of.metrics, ...metrics].map((m) => m.name));
    assert.deepEqual(
      descriptors.map((d) => d.name).filter((name) => !told.has(name)),
      [],
      "declared but not told",
    );
    const value = (name: string) => metrics.find((m) => m.name === `container_${name}`)!.value!.value;
    const pids = (await cgroupFile(id, "pids", "cgroup.procs", "cgroup.procs")).trim().split("\n").map(Number);
    assert.equal(value("processes"), BigInt(pids.length));
    assert.equal(value("threads"), BigInt(pids.length));
    const fds = pids.flatMap((p) => readdirSync(`/proc/${p}/fd`).map((fd) => readlinkSync(`/proc/${p}/fd/${fd}`)));
    assert.equal(value("file_descriptors"), BigInt(fds.length));
    assert.equal(value("sockets"), BigInt(fds.filter((target) => target.startsWith("socket:")).length));
    assert.equal(value("ulimits_soft"), 500n);
    assert.equal(value("spec_cpu_quota"), 20_000n);
    assert.equal(value("spec_memory_limit_bytes"), 64n << 20n);
    const { startedAt } = await node.containerStatus(id);
    assert.equal(value("start_time_seconds"), startedAt / 1_000_000_000n);
    const [labels] = metrics.map((m) => m.labelValues);
    assert.ok(labels!.includes(id) && labels!.includes(pod.config.metadata!.name));
    await node.removeContainer(id);
  });

  test("go on after a restart of the daemon, and do not wait for a container that is frozen", async () => {
    const id = await node.runContainer(pod, "while :; do :; done");
    const first = await statsOf(id);
    await node.kill("SIGKILL");
    await node.startAgain();
    process.kill(await mainPid(id), "SIGSTOP");
    const started = performance.now();
    const { stats } = await node.call("listContainerStats", { filter: undefined }, AbortSignal.timeout(5000));
    assert.ok(performance.now() - started < 5000);
    const again = stats.find((s) => s.attributes!.id === id)!;
    assert.ok(again.cpu!.usageCoreNanoSeconds!.value >= first.cpu!.usageCoreNanoSeconds!.value);
    process.kill(await mainPid(id), "SIGCONT");
    await node.removeContainer(id);
  });
});
