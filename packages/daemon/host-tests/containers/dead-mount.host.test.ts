// A network file system whose server is gone: whoever touches it is held by the kernel, and no signal ends that.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { SecurityProfile_ProfileType } from "@keelson/cri/gen/runtime/v1/api.ts";
import { run } from "@keelson/linux/run.ts";
import { DeadMount } from "@keelson/testkit/dead-mount.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { shareNode } from "../testing/shared-node.ts";
import { rejectsWith, TestNode } from "../testing/test-node.ts";

const useNode = shareNode();

describe("a dead mount", { skip }, () => {
  let node: TestNode;
  useNode((shared) => void (node = shared));

  /** While the callback runs there is a dead mount; it is told whether calls are answered meanwhile. */
  async function withDeadMount(name: string, body: (mount: DeadMount) => Promise<void>): Promise<void> {
    using mount = DeadMount.open(join(node.dir, name));
    assert.ok(mount !== undefined, "this machine has no FUSE");
    await body(mount);
  }

  async function answers(): Promise<void> {
    await node.call("listContainers", { filter: undefined }, AbortSignal.timeout(2000));
    await node.call("status", { verbose: false }, AbortSignal.timeout(2000));
  }

  test("as a mount's source holds up that call alone, which says so; the pod can be stopped", async () => {
    await withDeadMount("source", async (mount) => {
      mount.die();
      const pods = await Promise.all(Array.from({ length: 6 }, () => node.runPod()));
      // More, each with a path of its own, than libuv's pool has threads.
      const creations = pods.map(({ id, config }, i) => {
        const container = node.containerConfig({
          mounts: [{ hostPath: `${mount.path}/${i}`, containerPath: "/data" }],
        });
        return assert.rejects(
          node.call(
            "createContainer",
            { podSandboxId: id, config: container, sandboxConfig: config },
            AbortSignal.timeout(3000),
          ),
        );
      });
      await answers();
      const other = await node.runPod();
      assert.equal(await node.outputOf(other, "echo -n well"), "well");
      await Promise.all(creations);
      await Promise.all(pods.map((pod) => node.stopPod(pod.id)));
      await answers();
      mount.close();
      await Promise.all(pods.map((pod) => node.removePod(pod.id)));
      await node.removePod(other.id);
    });
  });

  test("with a device or a seccomp profile on it holds up that call alone, too", async () => {
    await withDeadMount("files", async (mount) => {
      mount.die();
      const pod = await node.runPod();
      const configs = [
        { devices: [{ hostPath: `${mount.path}/device`, containerPath: "/dev/x", permissions: "r" }] },
        {
          linux: {
            securityContext: {
              seccomp: {
                profileType: SecurityProfile_ProfileType.Localhost,
                localhostRef: `${mount.path}/profile.json`,
              },
            },
          },
        },
      ];
      const creations = configs.map((over) =>
        assert.rejects(
          node.call(
            "createContainer",
            { podSandboxId: pod.id, config: node.containerConfig(over), sandboxConfig: pod.config },
            AbortSignal.timeout(3000),
          ),
        ),
      );
      await answers();
      await Promise.all(creations);
      await node.stopPod(pod.id);
      mount.close();
      await node.removePod(pod.id);
    });
  });

  test("holds a tool that touches it, and its caller no longer than the deadline", async () => {
    await withDeadMount("tool", async (mount) => {
      mount.die();
      const started = performance.now();
      await assert.rejects(run({ file: "stat", args: [mount.path], timeoutMs: 100 }), { name: "TimeoutError" });
      const tookMs = performance.now() - started;
      assert.ok(tookMs > 1000 && tookMs < 5000, `${tookMs} ms: SIGKILL ended it, or nothing did`);
    });
  });

  test("in a container's PATH holds up nothing when the container ends at once, and the end is recorded", async () => {
    await withDeadMount("path", async (mount) => {
      const pod = await node.runPod();
      const id = await node.runContainer(pod, {
        // Why it ended so soon is looked for in /data first.
        command: ["sh", "-c", "/bin/sleep 1; exit 3"],
        envs: [{ key: "PATH", value: Buffer.from("/data:/bin") }],
        mounts: [{ hostPath: mount.path, containerPath: "/data" }],
      });
      mount.die();
      await waitFor(async () => {
        await answers();
        return (await node.containerStatus(id)).finishedAt !== 0n;
      });
      const { exitCode, reason } = await node.containerStatus(id);
      assert.deepEqual([exitCode, reason], [3, "Error"]);
      mount.close();
      await node.removePod(pod.id);
    });
  });

  test("under a container: execs end at their timeout, a stop says what holds it, and both end with the mount", async () => {
    await withDeadMount("volume", async (mount) => {
      const pod = await node.runPod();
      const id = await node.runContainer(pod, {
        command: ["sh", "-c", "while stat /data >/dev/null; do sleep 0.05; done; exec sleep 600"],
        mounts: [{ hostPath: mount.path, containerPath: "/data" }],
      });
      mount.die();
      await rejectsWith(Code.DeadlineExceeded, node.exec(id, ["stat", "/data"], 1), /did not end within 1 s/);
      await assert.rejects(node.stopContainer(id, 0), /stat.*state D|uninterruptible/);
      await answers();
      mount.close();
      await waitFor(async () => (await node.containerStatus(id)).finishedAt !== 0n);
      await node.stopPod(pod.id);
      await node.removePod(pod.id);
    });
  });
});
