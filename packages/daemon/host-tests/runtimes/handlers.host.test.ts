// What [runtimes.NAME] says of a handler, on a real daemon with real runtimes, and with ones that do not work.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { runtimeBinary } from "@keelson/testkit/runtime-binary.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { rejectsWith, TestNode } from "../testing/test-node.ts";

interface Shown {
  readonly path: string;
  readonly version: string;
  readonly default: boolean;
  readonly problem: string;
}

describe("runtime handlers", { skip }, () => {
  let dir: string;
  let node: TestNode;
  const shown = async () =>
    JSON.parse((await node.call("status", { verbose: true })).info["runtimes"]!) as Record<string, Shown>;
  /** A runtime that is a script; without `create` in its arguments it is crun. */
  const wrapper = (name: string, onCreate: string) => {
    const path = join(dir, name);
    writeFileSync(path, `#!/bin/sh\ncase " $* " in *" create "*) ${onCreate} ;; esac\nexec crun "$@"\n`, {
      mode: 0o755,
    });
    return `[runtimes.${name}]\npath = "${path}"\n`;
  };

  before(async () => {
    dir = mkdtempSync("/run/keelson-handlers-");
    mkdirSync(join(dir, "net.d"));
    const ptp = {
      type: "ptp",
      ipam: { type: "host-local", dataDir: join(dir, "ipam"), ranges: [[{ subnet: "10.98.0.0/24" }]] },
    };
    writeFileSync(
      join(dir, "net.d/1.conflist"),
      JSON.stringify({ cniVersion: "1.0.0", name: "routed", plugins: [ptp] }),
    );
    writeFileSync(
      join(dir, "base.json"),
      JSON.stringify({
        process: { env: ["SITE=here"], rlimits: [{ type: "RLIMIT_NOFILE", soft: 333, hard: 333 }] },
        hooks: { poststop: [{ path: "/bin/sh", args: ["sh", "-c", `echo ended >>${dir}/hook`] }] },
      }),
    );
    writeFileSync(join(dir, "monitor"), `#!/bin/sh\necho monitor >>${dir}/monitored\nexec conmon "$@"\n`, {
      mode: 0o755,
    });
    copyFileSync(execFileSync("which", ["crun"], { encoding: "utf8" }).trim(), join(dir, "crun"));
    writeFileSync(join(dir, "mute"), "#!/bin/sh\nexec sleep 4324\n", { mode: 0o755 });
    const tuning = `
base_spec = "${dir}/base.json"
cni_conf_dir = "${dir}/net.d"
pod_annotations = ["pod.example.com/*"]
container_annotations = ["container.example.com/*"]
overhead = { cpu = "250m", memory = "160Mi" }
`;
    const config = `
[timeouts]
create = 4
[runtimes.tuned]
path = "crun"
monitor = "${dir}/monitor"
${tuning}
[runtimes.shim]
type = "shim"
path = "${runtimeBinary("containerd-shim-runc-v2")}"
options = { BinaryName = "${dir}/crun" }
${tuning}
[runtimes.shimless]
type = "shim"
path = "io.containerd.nothing.v2"
[runtimes.absent]
path = "/nonexistent/kata-runtime"
${wrapper("crashing", "kill -SEGV $$")}
${wrapper("babbling", "head -c 5000 /dev/urandom >&2; exit 1")}
[runtimes.mute]
path = "${dir}/mute"
${wrapper("hanging", "exec sleep 4323")}
`;
    node = await TestNode.start({ config });
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });

  test("annotations, base spec, monitor and network of a handler are those of its pods, and of no others", async () => {
    const annotations = { "pod.example.com/a": "1", "pod.example.com/b/c": "2", other: "3" };
    const own = { "container.example.com/d": "4", other: "5" };
    const tell = "echo $SITE $(ulimit -n)";
    const seen = async (handler: string) => {
      const pod = await node.runPod({ annotations }, handler);
      const id = await node.runContainer(pod, { command: ["sh", "-c", `${tell}; sleep 600`], annotations: own });
      await waitFor(async () => (await node.log(id)).length > 0);
      const { info } = await node.call("containerStatus", { containerId: id, verbose: true });
      const { runtimeSpec } = JSON.parse(info["info"]!) as { runtimeSpec: { annotations: Record<string, string> } };
      const result = {
        words: (await node.log(id))[0]!.text,
        annotations: Object.keys(runtimeSpec.annotations).filter(
          (key) => !key.startsWith("io.kubernetes.") && !key.startsWith("run.oci."),
        ),
        ip: (await node.podStatus(pod.id)).network!.ip,
      };
      await node.removePod(pod.id);
      return result;
    };
    for (const handler of ["tuned", "shim"]) {
      rmSync(join(dir, "hook"), { force: true });
      const tuned = await seen(handler);
      assert.deepEqual(
        [tuned.words, tuned.annotations],
        ["here 333", ["container.example.com/d", "pod.example.com/a"]],
        handler,
      );
      assert.match(tuned.ip, /^10\.98\.0\./, handler);
      assert.match(readFileSync(join(dir, "hook"), "utf8"), /^(ended\n)+$/, handler);
    }
    assert.equal(readFileSync(join(dir, "monitored"), "utf8"), "monitor\n");
    const plain = await seen("crun");
    assert.deepEqual(plain.annotations, []);
    assert.doesNotMatch(plain.words, /here|333/);
    assert.match(plain.ip, /^10\.99\./);
  });

  test("a pod without an overhead is told what its RuntimeClass should have", async () => {
    const pod = await node.runPod({}, "tuned");
    assert.match(
      node.daemonLog(),
      /has no overhead; its RuntimeClass should have overhead\.podFixed \{ cpu: 250m, memory: 160Mi \}/,
    );
    await node.removePod(pod.id);
    const told = node.daemonLog().split("has no overhead").length;
    const other = await node.runPod(
      { linux: { overhead: { memoryLimitInBytes: 160n << 20n }, securityContext: { namespaceOptions: { pid: 1 } } } },
      "tuned",
    );
    await node.removePod(other.id);
    assert.equal(node.daemonLog().split("has no overhead").length, told);
  });

  test("a runtime that crashes, babbles or hangs is named by the call, leaves nothing, and the others run on", async () => {
    const healthy = await node.runPod();
    for (const [handler, code, words] of [
      [
        "crashing",
        Code.Internal,
        /create container .* with crashing \(\/run\/.*\/crashing\): the monitor ended without a report, as it does when the runtime crashes; install/,
      ],
      ["babbling", Code.Internal, /create container .* with babbling \(\/run\/.*\/babbling\): /],
      [
        "hanging",
        Code.DeadlineExceeded,
        /create container .* with hanging \(\/run\/.*\/hanging\): it took longer than 4 s/,
      ],
    ] as const) {
      const pod = await node.runPod({}, handler);
      const failing = rejectsWith(code, node.createContainer(pod, "true"), words);
      assert.equal(await node.outputOf(healthy, "echo fine"), "fine", handler);
      await failing;
      assert.deepEqual(
        (
          await node.call("listContainers", {
            filter: { id: "", state: undefined, podSandboxId: pod.id, labelSelector: {} },
          })
        ).containers,
        [],
      );
      await node.removePod(pod.id);
    }
    await node.removePod(healthy.id);
  });

  test("a runtime that answers nothing holds up nothing but its own pods, which are refused", async () => {
    await node.stop();
    await node.startAgain();
    const pod = await node.runPod();
    const refused = rejectsWith(
      Code.FailedPrecondition,
      node.runPod({}, "mute"),
      new RegExp(`^runtime handler mute: ${dir}/mute did not answer (features|--version) within 5 s; install mute$`),
    );
    assert.equal(await node.outputOf(pod, "echo fine"), "fine");
    await refused;
    assert.match((await shown())["mute"]!.problem, /did not answer/);
    await node.removePod(pod.id);
    // An answer that is waited for does not outlive the daemon.
    await node.stop();
    await node.startAgain();
  });

  test("what is configured and not there is listed with its problem, and a binary that is replaced shows its new version", async () => {
    const before = await shown();
    assert.equal(
      before["absent"]!.problem,
      "its binary /nonexistent/kata-runtime is not there; install kata-runtime or set runtimes.absent.path",
    );
    await rejectsWith(
      Code.FailedPrecondition,
      node.runPod({}, "absent"),
      /runtime handler absent: its binary \/nonexistent\/kata-runtime is not there; install kata-runtime/,
    );
    await rejectsWith(
      Code.InvalidArgument,
      node.runPod({}, "gvizor"),
      /runtime handler "gvizor" is not configured; there are: crun, /,
    );
    const told = (await node.call("status", { verbose: false })).runtimeHandlers;
    assert.deepEqual(
      told.find((handler) => handler.name === "shim")?.features,
      told.find((handler) => handler.name === "crun")?.features,
    );
    assert.match(before["shim"]!.version, /^\d/);
    assert.match(
      before["shimless"]!.problem,
      /^its binary containerd-shim-nothing-v2 is not there; install containerd-shim-nothing-v2 or set runtimes\.shimless\.path$/,
    );
    rmSync(join(dir, "crun"));
    assert.match(
      (await shown())["shim"]!.problem,
      new RegExp(`^the runtime ${dir}/crun is not there any more; install crun`),
    );
    await rejectsWith(
      Code.FailedPrecondition,
      node.runPod({}, "shim"),
      /runtime handler shim: the runtime .*\/crun is not there any more/,
    );
    assert.ok(
      !(await node.call("status", { verbose: false })).runtimeHandlers.some((handler) => handler.name === "absent"),
    );
    assert.deepEqual([before["crun"]!.default, before["crashing"]!.version], [true, before["crun"]!.version]);
    writeFileSync(join(dir, "crashing"), "#!/bin/sh\necho crashing version 9.9\n", { mode: 0o755 });
    assert.equal((await shown())["crashing"]!.version, "9.9");
    writeFileSync(join(dir, "crashing"), "#!/bin/sh\nkill -ABRT $$\n", { mode: 0o755 });
    assert.match(
      (await shown())["crashing"]!.problem,
      new RegExp(`^${dir}/crashing .* was ended by SIGABRT; install crashing$`),
    );
    await rejectsWith(
      Code.FailedPrecondition,
      node.runPod({}, "crashing"),
      /runtime handler crashing: .* was ended by SIGABRT/,
    );
    rmSync(join(dir, "crashing"));
    assert.equal(
      (await shown())["crashing"]!.problem,
      `the runtime ${dir}/crashing is not there any more; install crashing`,
    );
  });
});
