// CNI plugins that misbehave, seen by a client of the daemon: the error names the stage, nothing stays, and the same request then works.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

/** What the plugin does when `mode` has `COMMAND FAULT` in it; otherwise it is the bridge plugin. */
const plugin = `#!/bin/sh
read -r command fault <"$(dirname "$0")/../mode" 2>/dev/null
[ "$command" = "$CNI_COMMAND" ] || exec /usr/lib/cni/bridge
case $fault in
  refuses) echo '{"cniVersion": "1.0.0", "code": 7, "msg": "no such VLAN", "details": "42"}'; exit 1 ;;
  later) echo '{"cniVersion": "1.0.0", "code": 11, "msg": "the agent is starting"}'; exit 1 ;;
  complains) echo "cannot reach the agent" >&2; exit 3 ;;
  garbage) echo "garbage {"; exit 0 ;;
  nothing) exit 0 ;;
  huge) head -c 1073741824 /dev/zero; exit 0 ;;
  crashes) kill -SEGV $$ ;;
  version) echo '{"cniVersion": "9.9.9", "ips": [{"address": "10.99.0.5/16"}]}'; exit 0 ;;
  address) echo '{"cniVersion": "1.0.0", "ips": [{"address": "nowhere"}]}'; exit 0 ;;
  hangs) sleep 600 & wait ;;
  waits) while [ -e "$(dirname "$0")/../mode" ]; do sleep 0.05; done; exec /usr/lib/cni/bridge ;;
esac
`;

describe("a CNI plugin that", { skip }, () => {
  let node: TestNode;
  let bin: string;
  before(async () => {
    node = await TestNode.start({ network: false });
    bin = join(node.dir, "bin");
    mkdirSync(bin);
    writeFileSync(join(bin, "faulty"), plugin, { mode: 0o755 });
    const config = readFileSync(node.configFile, "utf8").replace(
      "[cni]\n",
      `[cni]\nbin_dirs = ["${bin}", "/usr/lib/cni"]\n`,
    );
    writeFileSync(node.configFile, `${config}[timeouts]\nstop = 3\n`);
    const faulty = {
      type: "faulty",
      bridge: "keel0",
      isGateway: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.99.0.0/16" }]] },
    };
    writeFileSync(node.networkFile, JSON.stringify({ cniVersion: "1.0.0", name: "keel", plugins: [faulty] }));
    await node.stop();
    await node.startAgain();
  });
  after(async () => {
    behaves();
    writeFileSync(join(bin, "faulty"), plugin, { mode: 0o755 });
    await node[Symbol.asyncDispose]();
  });

  const misbehaves = (mode: string) => writeFileSync(join(node.dir, "mode"), mode);
  const behaves = () => rmSync(join(node.dir, "mode"), { force: true });
  const pods = async () => (await node.call("listPodSandbox", { filter: undefined })).items.map((item) => item.id);
  const worksNow = async (request: Parameters<typeof node.podConfig>[0]) => {
    const config = node.podConfig(request);
    const { podSandboxId } = await node.call("runPodSandbox", { config, runtimeHandler: "" });
    assert.match((await node.podStatus(podSandboxId)).network!.ip, /^10\.99\./);
    return { id: podSandboxId, config };
  };

  const faults: [string, Code, RegExp][] = [
    ["refuses", Code.FailedPrecondition, /no such VLAN; 42 \(CNI error 7\)/],
    ["later", Code.Unavailable, /the agent is starting \(CNI error 11\)/],
    ["complains", Code.Internal, /ended with code 3: cannot reach the agent/],
    ["garbage", Code.Internal, /garbage|JSON/],
    ["nothing", Code.Internal, /JSON|empty|nothing/],
    ["huge", Code.Internal, /wrote more than \d+ bytes/],
    ["crashes", Code.Internal, /killed by SIGSEGV/],
    ["version", Code.Internal, /9\.9\.9/],
    ["address", Code.Internal, /nowhere/],
  ];
  for (const [fault, code, words] of faults) {
    test(`${fault} at ADD`, async () => {
      misbehaves(`ADD ${fault}`);
      const config = node.podConfig();
      await rejectsWith(
        code,
        node.call("runPodSandbox", { config, runtimeHandler: "" }),
        new RegExp(`run pod sandbox .*attach pod \\w+ to network keel: plugin faulty: ADD: .*(${words.source})`),
      );
      assert.deepEqual(await pods(), []);
      assert.deepEqual(node.remains(), []);
      assert.deepEqual(node.leftBehind(), []);
      behaves();
      const pod = await worksNow(config);
      assert.equal(await node.outputOf(pod, "echo attached"), "attached");
      await node.removePod(pod.id);
    });
  }

  test("fails at DEL keeps the pod until it works, in whatever way it fails", async () => {
    const pod = await node.runPod();
    const others = [await node.runPod()];
    // The others succeed: what DEL writes then is nobody's business.
    for (const [fault, code, words] of faults.filter(([name]) =>
      ["refuses", "later", "complains", "crashes"].includes(name),
    )) {
      misbehaves(`DEL ${fault}`);
      for (const call of ["stopPodSandbox", "removePodSandbox"] as const) {
        await rejectsWith(
          code,
          node.call(call, { podSandboxId: pod.id }),
          new RegExp(`detach pod \\w+ from network keel: plugin faulty: DEL: .*(${words.source})`),
        );
      }
      assert.equal((await pods()).includes(pod.id), true);
    }
    // Others are taken down as ever.
    behaves();
    for (const other of others) await node.removePod(other.id);
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("writes a gigabyte at DEL does no harm", async () => {
    const pod = await node.runPod();
    misbehaves("DEL huge");
    await node.stopPod(pod.id).catch(() => undefined);
    const rss = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))![1]);
    assert.ok(rss < 700_000, `${rss} kB resident`);
    behaves();
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("hangs at ADD is named in the log when the client's deadline is over, and the retry gets the pod", async () => {
    misbehaves("ADD waits");
    const config = node.podConfig();
    await rejectsWith(
      Code.DeadlineExceeded,
      node.call("runPodSandbox", { config, runtimeHandler: "" }, AbortSignal.timeout(300)),
    );
    assert.deepEqual(await pods(), []);
    // Others do not wait for it.
    await node.call("status", { verbose: true }, AbortSignal.timeout(2000));
    const retry = node.call("runPodSandbox", { config, runtimeHandler: "" });
    behaves();
    const { podSandboxId } = await retry;
    await worksNow(config);
    assert.deepEqual(await pods(), [podSandboxId]);
    await node.removePod(podSandboxId);
    await waitFor(() => /"call":"runPodSandbox".*plugin faulty: ADD/.test(node.daemonLog()), {
      message: "the stage is not in the log",
    });
  });

  test("is slow at DEL is named when the client's deadline is over, and the retry joins it", async () => {
    const pod: Pod = await node.runPod();
    misbehaves("DEL waits");
    await rejectsWith(
      Code.DeadlineExceeded,
      node.call("stopPodSandbox", { podSandboxId: pod.id }, AbortSignal.timeout(300)),
    );
    await waitFor(
      () =>
        /"call":"stopPodSandbox".*during: detach from network keel: plugin faulty: DEL \(running for 0\.\d s\)/.test(
          node.daemonLog(),
        ),
      { message: "the stage is not in the log" },
    );
    const retry = node.stopPod(pod.id);
    behaves();
    await retry;
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("hangs at DEL is killed when stopping takes longer than the configuration allows, and the next stop takes the pod down", async () => {
    const pod: Pod = await node.runPod();
    misbehaves("DEL hangs");
    await rejectsWith(
      Code.DeadlineExceeded,
      node.stopPod(pod.id),
      /stop pod sandbox .*detach the network.*plugin faulty: DEL: was running for 3\.\d s/,
    );
    behaves();
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("disappears between ADD and DEL is named with where it was looked for, and the pod goes when it is back", async () => {
    const pod = await node.runPod();
    const id = await node.runContainer(pod, "sleep 600");
    renameSync(join(bin, "faulty"), join(node.dir, "gone"));
    const inBinDirs = new RegExp(
      `plugin faulty: there is no such binary in ${bin}, /usr/lib/cni; install the CNI plugins or correct the directories`,
    );
    await rejectsWith(Code.FailedPrecondition, node.stopPod(pod.id), inBinDirs);
    // Its containers have ended all the same.
    await node.untilExited(id);
    await rejectsWith(Code.FailedPrecondition, node.call("removePodSandbox", { podSandboxId: pod.id }), inBinDirs);
    await rejectsWith(Code.FailedPrecondition, node.runPod(), /plugin faulty/);
    const ready = async () =>
      (await node.call("status", { verbose: false })).status!.conditions.find(
        (condition) => condition.type === "NetworkReady",
      )!;
    await waitFor(async () => /faulty/.test((await ready()).message), { message: "Status does not name the plugin" });
    renameSync(join(node.dir, "gone"), join(bin, "faulty"));
    await node.removePod(pod.id);
    await waitFor(async () => (await ready()).status, { message: "the network is not ready again" });
    await node.removePod((await node.runPod()).id);
    assert.deepEqual(node.leftBehind(), []);
  });
});
