// What limits a container: looked at in its cgroup and from inside, not in what was asked.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { type DeepPartial, LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import { LinuxContainerHost } from "@keelson/engine/machine/container-host.ts";
import { cgroupDirs, controllerDir, createCgroup, detectCgroups } from "@keelson/linux/cgroup.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { untilOomKillsAreReported } from "../testing/oom-reports.ts";
import { shareNode } from "../testing/shared-node.ts";
import { cgroupDriver, type Pod, rejectsWith, runtimes, TestNode } from "../testing/test-node.ts";

const mebibyte = 1024n * 1024n;
const isV2 = detectCgroups().kind === "v2";
const hasHugepages =
  detectCgroups().hierarchies.some((h) => h.controllers.includes("hugetlb")) &&
  existsSync("/sys/kernel/mm/hugepages/hugepages-2048kB");

const useNode = shareNode();

for (const runtime of runtimes) {
  describe(`resources with ${runtime}`, { skip, concurrency: 3 }, () => {
    let node: TestNode;
    let pod: Pod;
    useNode(async (shared) => {
      node = shared;
      pod = await node.runPod({}, runtime);
    });

    const run = (resources: DeepPartial<LinuxContainerResources>, script = "sleep 600") =>
      node.runContainer(pod, { command: ["sh", "-c", script], linux: { resources } });
    const update = async (containerId: string, linux: DeepPartial<LinuxContainerResources>) => {
      await node.call("updateContainerResources", {
        containerId,
        linux: LinuxContainerResources.fromPartial(linux),
        windows: undefined,
        annotations: {},
      });
    };
    const fileOf = async (id: string, controller: string, file: string) =>
      join(controllerDir(detectCgroups(), (await node.containerInfo(id)).cgroup, controller)!, file);
    const limit = async (id: string, file: string) =>
      readFileSync(await fileOf(id, file.split(".")[0]!, file), "utf8").trim();

    /** Period, quota, shares, memory, memory and swap, CPUs: as cgroup v1 has them. */
    type Limits = readonly [period: bigint, quota: bigint, shares: bigint, memory: bigint, swap: bigint, cpus: string];
    const limitsOf = async (id: string, { shares }: { shares: bigint }) => {
      if (!isV2)
        return Promise.all(
          [
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "cpu.shares",
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "cpuset.cpus",
          ].map((file) => limit(id, file)),
        );
      const [quota = "", period = ""] = (await limit(id, "cpu.max")).split(" ");
      const memory = await limit(id, "memory.max");
      // Each runtime has its own formula; what the other containers have is what counts.
      const weighed = (await limit(id, "cpu.weight")) === (await weightOf(shares)) ? String(shares) : "another weight";
      return [
        period,
        quota === "max" ? "-1" : quota,
        weighed,
        memory,
        String(BigInt(memory) + BigInt(await limit(id, "memory.swap.max"))),
        await limit(id, "cpuset.cpus"),
      ];
    };
    const weightOf = async (cpuShares: bigint) => {
      const id = await run({ cpuShares });
      const weight = await limit(id, "cpu.weight");
      await node.removeContainer(id);
      return weight;
    };

    test("every limit is in the container's cgroup, and is changed alone", async () => {
      const id = await run({
        cpuPeriod: 50_000n,
        cpuQuota: 25_000n,
        cpuShares: 512n,
        memoryLimitInBytes: 64n * mebibyte,
        memorySwapLimitInBytes: 96n * mebibyte,
        cpusetCpus: "0",
        cpusetMems: "0",
      });
      const steps: [DeepPartial<LinuxContainerResources>, Limits][] = [
        [{}, [50_000n, 25_000n, 512n, 64n, 96n, "0"]],
        [{ cpuShares: 2n }, [50_000n, 25_000n, 2n, 64n, 96n, "0"]],
        [{ memoryLimitInBytes: 128n * mebibyte }, [50_000n, 25_000n, 2n, 128n, 160n, "0"]],
        [{ memoryLimitInBytes: 32n * mebibyte }, [50_000n, 25_000n, 2n, 32n, 64n, "0"]],
        [{ cpuQuota: -1n, cpuPeriod: 100_000n }, [100_000n, -1n, 2n, 32n, 64n, "0"]],
        [{ cpusetCpus: "0-1" }, [100_000n, -1n, 2n, 32n, 64n, "0-1"]],
        [{ cpuQuota: 150_000n }, [100_000n, 150_000n, 2n, 32n, 64n, "0-1"]],
        [{}, [100_000n, 150_000n, 2n, 32n, 64n, "0-1"]],
      ];
      for (const [change, [period, quota, shares, memory, swap, cpus]] of steps) {
        await update(id, change);
        assert.deepEqual(
          await limitsOf(id, { shares }),
          [period, quota, shares, memory * mebibyte, swap * mebibyte, cpus].map(String),
          Object.keys(change).join(),
        );
      }
      const { resources } = await node.containerStatus(id);
      assert.deepEqual(
        [resources?.linux?.cpuQuota, resources?.linux?.memoryLimitInBytes, resources?.linux?.cpusetCpus],
        [150_000n, 32n * mebibyte, "0-1"],
      );
      await node.removeContainer(id);
    });

    test("one that is created is updated, one that has ended is not", async () => {
      const id = await node.createContainer(pod, { command: ["sleep", "600"] });
      await update(id, { memoryLimitInBytes: 40n * mebibyte });
      await node.startContainer(id);
      assert.equal(await node.output(id, "grep -c '' /proc/self/status >/dev/null; echo ok"), "ok\n");
      assert.equal(await limit(id, isV2 ? "memory.max" : "memory.limit_in_bytes"), String(40n * mebibyte));
      await node.stopContainer(id, 0);
      await rejectsWith(Code.FailedPrecondition, update(id, { cpuShares: 2n }), /exited/);
      await node.removeContainer(id);
    });

    test("less memory than it holds is refused with both numbers, and changes nothing", async () => {
      // tmpfs pages are its own, and cannot be given back.
      const id = await run(
        { memoryLimitInBytes: 64n * mebibyte },
        "dd if=/dev/zero of=/dev/shm/held bs=1M count=30 2>/dev/null; echo held; sleep 600",
      );
      await node.untilLogged(id, "held");
      await rejectsWith(
        Code.FailedPrecondition,
        update(id, { memoryLimitInBytes: 10n * mebibyte, cpuShares: 7n }),
        /memory_limit_in_bytes is 10485760 \(10 MiB\), less than the \d{8} bytes \(3\d.* MiB\)/,
      );
      assert.equal((await node.containerStatus(id)).resources?.linux?.memoryLimitInBytes, 64n * mebibyte);
      await update(id, { memoryLimitInBytes: 50n * mebibyte });
      await node.removeContainer(id);
    });

    test("what the runtime refuses is told in its words, and is taken back", async () => {
      const id = await run({ cpuShares: 100n });
      await rejectsWith(
        Code.FailedPrecondition,
        update(id, { cpusetCpus: "999", cpuShares: 300n }),
        new RegExp(`^update container ${id}: set its limits with ${runtime}: .*cpuset`),
      );
      assert.equal((await node.containerStatus(id)).resources?.linux?.cpuShares, 100n);
      assert.equal(await limit(id, isV2 ? "cpu.weight" : "cpu.shares"), isV2 ? await weightOf(100n) : "100");
      await node.removeContainer(id);
    });

    test(
      "huge pages are limited, and limited anew",
      { skip: !hasHugepages && "no hugetlb controller, or no huge pages of 2 MB" },
      async () => {
        const id = await run({ hugepageLimits: [{ pageSize: "2MB", limit: 4n * mebibyte }] });
        const file = isV2 ? "hugetlb.2MB.max" : "hugetlb.2MB.limit_in_bytes";
        assert.equal(await limit(id, file), String(4n * mebibyte));
        await update(id, { hugepageLimits: [{ pageSize: "2MB", limit: 8n * mebibyte }] });
        assert.equal(await limit(id, file), String(8n * mebibyte));
        await node.removeContainer(id);
      },
    );

    test("oom_score_adj is that of the processes that run, but not of one that chose its own", async () => {
      const id = await run(
        { oomScoreAdj: 100n },
        "(echo 900 > /proc/self/oom_score_adj; exec sleep 601) & echo $! > /child; sleep 600",
      );
      const score = (of: string) => node.output(id, `cat /proc/${of}/oom_score_adj`);
      assert.equal(await score("1"), "100\n");
      assert.equal(await score("self"), "100\n", "a command has that of its container, not the daemon's");
      await update(id, { oomScoreAdj: 500n });
      assert.deepEqual([await score("1"), await score("$(cat /child)")], ["500\n", "900\n"]);
      await update(id, { oomScoreAdj: 300n });
      assert.equal(await score("1"), "300\n");
      await node.removeContainer(id);
    });

    test("a process that the kernel kills for want of memory is named with the limit", async () => {
      await untilOomKillsAreReported();
      const id = await run(
        { memoryLimitInBytes: 15n * mebibyte, memorySwapLimitInBytes: 15n * mebibyte },
        "dd if=/dev/zero of=/dev/null bs=20M; exit $?",
      );
      const { exitCode, reason, message } = await node.untilExited(id);
      assert.deepEqual([exitCode, reason], [137, "OOMKilled"]);
      assert.match(
        message,
        /^process "dd" \(pid \d+\) was killed: the container's memory limit of 15 MiB was reached$/,
      );
      await node.removeContainer(id);
    });

    test("a child's OOM kill is why a container ends with another code, and no reason for one that goes on", async () => {
      await untilOomKillsAreReported();
      const limits = { memoryLimitInBytes: 15n * mebibyte, memorySwapLimitInBytes: 15n * mebibyte };
      const failing = await run(limits, "dd if=/dev/zero of=/dev/null bs=20M || exit 3");
      const { exitCode, reason, message } = await node.untilExited(failing);
      assert.deepEqual([exitCode, reason], [3, "OOMKilled"]);
      assert.match(message, /"dd".*15 MiB.*exit code 3/);
      const going = await run(limits, "dd if=/dev/zero of=/dev/null bs=20M; exit 0");
      const end = await node.untilExited(going);
      assert.deepEqual([end.exitCode, end.reason], [0, "Completed"]);
      // systemd has removed its scope, and for one that ended well nobody reads the kernel's log.
      if (cgroupDriver !== "systemd") assert.match(end.message, /"dd"/);
      await Promise.all([failing, going].map((id) => node.removeContainer(id)));
    });

    test(
      "a kill in a cgroup below the container's is seen, and its limit told apart",
      { skip: isV2 && "a v2 cgroup with processes of its own has no controllers below" },
      async () => {
        const id = await run(
          { memoryLimitInBytes: 100n * mebibyte },
          "until [ -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=30M; exit $?",
        );
        const below = await fileOf(id, "memory", "app");
        mkdirSync(below);
        writeFileSync(join(below, isV2 ? "memory.max" : "memory.limit_in_bytes"), String(10n * mebibyte));
        writeFileSync(
          join(below, isV2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes"),
          isV2 ? "0" : String(10n * mebibyte),
        );
        writeFileSync(join(below, "cgroup.procs"), String((await node.containerInfo(id)).pid));
        await untilOomKillsAreReported();
        await node.output(id, "touch /go");
        const { exitCode, reason, message } = await node.untilExited(id);
        assert.deepEqual([exitCode, reason], [137, "OOMKilled"]);
        assert.match(
          message,
          /^process "dd" \(pid \d+\) was killed: the memory limit of the cgroup \/app inside the container was reached$/,
        );
        await waitFor(() => (rmdirSync(below), true)).catch(() => {});
        await node.removeContainer(id);
      },
    );
  });
}

test("limits outlive a restart of the daemon", { skip }, async () => {
  await using node = await TestNode.start();
  const pod = await node.runPod();
  const id = await node.runContainer(pod, "sleep 600");
  await node.call("updateContainerResources", {
    containerId: id,
    linux: LinuxContainerResources.fromPartial({ memoryLimitInBytes: 40n * mebibyte }),
    windows: undefined,
    annotations: {},
  });
  await node.call("updatePodSandboxResources", {
    podSandboxId: pod.id,
    overhead: LinuxContainerResources.fromPartial({ cpuShares: 9n }),
    resources: undefined,
  });
  await node.kill("SIGKILL");
  await node.startAgain();
  assert.equal((await node.containerStatus(id)).resources?.linux?.memoryLimitInBytes, 40n * mebibyte);
  const { info } = await node.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true });
  assert.equal((JSON.parse(info["info"]!) as { overhead: Record<string, unknown> }).overhead["cpu_shares"], 9);
});

test(
  "a process that was killed for want of memory is found in the kernel's log when its cgroup is gone",
  { skip },
  async () => {
    await untilOomKillsAreReported();
    const cgroups = detectCgroups();
    // Process ids come again, and the kernel's log still knows what an earlier run of this test was killed for.
    const path = `/keelson-oom-${randomUUID()}`;
    createCgroup(cgroups, path);
    const dir = controllerDir(cgroups, path, "memory")!;
    writeFileSync(join(dir, isV2 ? "memory.max" : "memory.limit_in_bytes"), String(10n * mebibyte));
    writeFileSync(
      join(dir, isV2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes"),
      isV2 ? "0" : String(10n * mebibyte),
    );
    const { signal } = spawnSync(
      "sh",
      ["-c", `echo $$ > ${dir}/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs=30M`],
      { stdio: "ignore" },
    );
    assert.equal(signal, "SIGKILL");
    for (const each of cgroupDirs(cgroups, path)) if (existsSync(each)) rmdirSync(each);
    const host = new LinuxContainerHost(
      () => "",
      () => "",
      cgroups,
    );
    assert.deepEqual(
      host.outOfMemory(path, true)?.victims.map(({ name }) => name),
      ["dd"],
    );
    assert.equal(host.outOfMemory(path, false), undefined);
    assert.equal(host.outOfMemory("/keelson-oom-nobody", true), undefined);
  },
);
