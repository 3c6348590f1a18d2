import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip as noSandbox } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { cgroupDriver, runtimes, TestNode } from "../testing/test-node.ts";

const skip =
  noSandbox || (cgroupDriver === "systemd" ? false : "needs systemd: npm run test:guest -- --driver systemd systemd");
const cgroupRoot = "/sys/fs/cgroup";
const namespaceOptions = { pid: NamespaceMode.POD, network: NamespaceMode.NODE };

function systemctl(...args: string[]): string {
  return execFileSync("systemctl", args, { encoding: "utf8" });
}

function loadedUnits(...patterns: string[]): string[] {
  return systemctl("list-units", "--all", "--plain", "--no-legend", ...patterns)
    .split("\n")
    .filter(Boolean)
    .map((line) => line.split(" ")[0]!);
}

/** The path of a process in the one tree of cgroup v2. */
function cgroupOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().replace(/^0::/, "");
}

for (const runtime of runtimes) {
  test(
    `a kubelet's pod is in scopes of its slice, with its limits, and leaves the slice empty, with ${runtime}`,
    { skip },
    async (t) => {
      await using node = await TestNode.start({ runtime });
      const slice = `kubepods-pod${process.pid}.slice`;
      const parent = `/kubepods.slice/${slice}`;
      // As a kubelet does; the slice is its own, and so is its end.
      execFileSync("busctl", [
        "-q",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        slice,
        "fail",
        "0",
        "0",
      ]);
      await waitFor(() => existsSync(join(cgroupRoot, parent)));
      t.after(() => systemctl("stop", "kubepods.slice"));
      {
        const pod = await node.runPod({ linux: { cgroupParent: parent, securityContext: { namespaceOptions } } });
        const id = await node.runContainer(pod, {
          command: ["sleep", "1000"],
          linux: { resources: { memoryLimitInBytes: 64n << 20n, cpuQuota: 50_000n, cpuPeriod: 100_000n } },
        });
        const { pid, cgroup } = await node.containerInfo(id);
        assert.equal(cgroup, `${parent}/keelson-${id}.scope`);
        assert.equal(cgroupOf(pid), cgroup);
        assert.equal(readFileSync(join(cgroupRoot, cgroup, "memory.max"), "utf8"), `${64 << 20}\n`);
        assert.equal(readFileSync(join(cgroupRoot, cgroup, "cpu.max"), "utf8"), "50000 100000\n");
        assert.deepEqual(
          loadedUnits("keelson-*.scope").sort(),
          [`keelson-${id}.scope`, `keelson-init-${pod.id}.scope`].sort(),
        );
        await node.removePod(pod.id);
      }
      assert.deepEqual(loadedUnits("keelson-*.scope"), []);
      assert.ok(existsSync(join(cgroupRoot, parent)), "the kubelet's slice is still there");
      systemctl("stop", "kubepods.slice");
      await waitFor(() => !existsSync(join(cgroupRoot, parent)));
    },
  );

  test(
    `a pod without a parent has a slice of its own, which systemd forgets with it, with ${runtime}`,
    { skip },
    async () => {
      await using node = await TestNode.start({ runtime });
      const pod = await node.runPod({ linux: { securityContext: { namespaceOptions } } });
      const id = await node.runContainer(pod, { command: ["sleep", "1000"] });
      const { pid } = await node.containerInfo(id);
      assert.equal(cgroupOf(pid), `/keelson.slice/keelson-${pod.id}.slice/keelson-${id}.scope`);
      await node.stopContainer(id, 0);
      await node.removePod(pod.id);
      assert.deepEqual(loadedUnits("keelson-*.scope", "keelson-*.slice"), []);
      assert.equal(existsSync(join(cgroupRoot, `keelson.slice/keelson-${pod.id}.slice`)), false);
    },
  );
}
