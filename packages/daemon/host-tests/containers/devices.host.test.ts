// Devices in a container: looked at from inside.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { controllerDir, detectCgroups } from "@keelson/linux/cgroup.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { type Pod, rejectsWith, sectionLike, TestNode } from "../testing/test-node.ts";

/** Every runtime lets containers use /dev/null and its like; /dev/fuse is none of them. */
const opens = (path: string) =>
  `(: < ${path}) 2>/dev/null && echo readable || echo not readable; (: > ${path}) 2>/dev/null && echo writable || echo not writable`;

/** Handlers whose privileged containers do not have the host's devices; with those of the second kind they may make them. */
const bare = "privileged_without_host_devices = true\n";
const handlers = eachRuntime
  .filter((runtime) => skipFor(runtime) === false)
  .flatMap((runtime) => [
    sectionLike(runtime, `bare-${runtime}`, bare),
    sectionLike(runtime, `maker-${runtime}`, `${bare}privileged_without_host_devices_all_devices_allowed = true\n`),
  ]);
const blockioFile = "/run/keelson-blockio.yaml";
const useNode = shareNode({
  config: `[containers]
device_ownership_from_security_context = true
pids_limit = 77
default_ulimits = ["nofile=512:1024"]
blockio_config_file = "${blockioFile}"
${handlers.join("")}`,
});

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  describe(`CDI devices with ${runtime}`, { skip: skipFor(runtime), concurrency: 3 }, () => {
    let node: TestNode;
    let pod: Pod;
    useNode(async (shared) => {
      node = shared;
      mkdirSync(node.cdiDir, { recursive: true });
      for (const name of readdirSync(node.cdiDir)) rmSync(join(node.cdiDir, name));
      pod = await node.runPod({}, runtime);
    });

    const write = (name: string, value: object) =>
      writeFileSync(join(node.cdiDir, name), JSON.stringify({ cdiVersion: "0.7.0", ...value }));

    test("a container gets what the device's specification says", async () => {
      const library = join(node.dir, `library-${runtime}`);
      mkdirSync(library);
      writeFileSync(join(library, "version"), "7\n");
      const hookSaid = join(node.dir, "hook-said");
      write("gpu.json", {
        kind: "vendor.com/gpu",
        containerEdits: {
          env: ["DRIVER=1"],
          mounts: [{ hostPath: library, containerPath: "/usr/lib/gpu", options: ["ro", "nosuid", "nodev", "bind"] }],
        },
        devices: [
          {
            name: "0",
            containerEdits: {
              env: ["GPU=zero"],
              deviceNodes: [
                { path: "/dev/gpu0", hostPath: "/dev/fuse", permissions: "r" },
                { path: "/dev/gpuctl", hostPath: "/dev/full", uid: 12, gid: 34, fileMode: 0o640 },
              ],
              hooks: [{ hookName: "createRuntime", path: "/bin/sh", args: ["sh", "-c", `cat > ${hookSaid}`] }],
              additionalGids: [4242],
            },
          },
        ],
      });
      const script = `echo $DRIVER $GPU; cat /usr/lib/gpu/version; touch /usr/lib/gpu/x 2>/dev/null || echo read-only; ${opens("/dev/gpu0")}; stat -c '%a %u %g' /dev/gpuctl; id -G`;
      const output = await node.outputOf(pod, {
        command: ["sh", "-c", script],
        CDIDevices: [{ name: "vendor.com/gpu=0" }],
      });
      assert.deepEqual(output.split("\n"), [
        "1 zero",
        "7",
        "read-only",
        "readable",
        "not writable",
        "640 12 34",
        "0 4242",
      ]);
      // "creating" by the specification; crun says "created".
      assert.match((JSON.parse(readFileSync(hookSaid, "utf8")) as { status: string }).status, /^creat(?:ed|ing)$/);
    });

    test("a file that is written while the daemon runs works at once, in YAML too, and by annotation", async () => {
      const config = { command: ["sh", "-c", "echo $LATE"], annotations: { "cdi.k8s.io/test": "vendor.com/late=a" } };
      await rejectsWith(
        Code.FailedPrecondition,
        node.createContainer(pod, config),
        /CDI device vendor\.com\/late=a is in no specification of .*cdi/,
      );
      writeFileSync(
        join(node.cdiDir, "late.yaml"),
        'cdiVersion: "0.5.0"\nkind: vendor.com/late\ndevices:\n  - name: a\n    containerEdits:\n      env: [LATE=yes]\n',
      );
      assert.equal(await node.outputOf(pod, config), "yes");
    });

    test("what cannot be had is refused by name, and nothing is left", async () => {
      write("gone.json", {
        kind: "vendor.com/gone",
        devices: [
          { name: "node", containerEdits: { deviceNodes: [{ path: "/dev/no-such-gpu" }] } },
          { name: "mount", containerEdits: { mounts: [{ hostPath: "/no/such/lib", containerPath: "/lib/x" }] } },
        ],
      });
      writeFileSync(join(node.cdiDir, "broken.json"), "{");
      for (const [name, words] of [
        ["vendor.com/gone=node", /device node \/dev\/no-such-gpu: ENOENT/],
        ["vendor.com/gone=mount", /mount source \/no\/such\/lib: .*ENOENT/],
        ["vendor.com/gpu=99", /vendor\.com\/gpu=99 is in no specification.*broken\.json: /],
      ] as const) {
        await rejectsWith(
          Code.FailedPrecondition,
          node.createContainer(pod, { command: ["true"], CDIDevices: [{ name }] }),
          words,
        );
      }
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, { command: ["true"], CDIDevices: [{ name: "gpu0" }] }),
        /CDI_devices\[0\]\.name/,
      );
      rmSync(join(node.cdiDir, "broken.json"));
    });
  });

  describe(`devices with ${runtime}`, { skip: skipFor(runtime), concurrency: 3 }, () => {
    let node: TestNode;
    let pod: Pod;
    useNode(async (shared) => {
      node = shared;
      pod = await node.runPod({}, runtime);
    });

    test("a device has the permissions that are asked for, under the name that is asked for", async () => {
      const device = { hostPath: "/dev/fuse", containerPath: "/dev/mine", permissions: "r" };
      assert.equal(
        await node.outputOf(pod, { command: ["sh", "-c", opens("/dev/mine")], devices: [device] }),
        "readable\nnot writable",
      );
      assert.equal(
        await node.outputOf(pod, {
          command: ["sh", "-c", opens("/dev/mine")],
          devices: [{ ...device, permissions: "rw" }],
        }),
        "readable\nwritable",
      );
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, { command: ["true"], devices: [{ ...device, permissions: "rx" }] }),
        /devices\[0\]\.permissions/,
      );
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, { command: ["true"], devices: [{ ...device, hostPath: "/dev/no-such" }] }),
        /\/dev\/no-such/,
      );
    });

    test("with the switch, devices belong to the user and group of the security context", async () => {
      const owner = (runAsUser?: bigint, runAsGroup?: bigint) => {
        const id = (value: bigint | undefined) => (value === undefined ? undefined : { value });
        const securityContext = {
          namespaceOptions: { pid: NamespaceMode.CONTAINER },
          runAsUser: id(runAsUser),
          runAsGroup: id(runAsGroup),
        };
        return node.outputOf(pod, {
          command: ["stat", "-c", "%u %g", "/dev/mine"],
          devices: [{ hostPath: "/dev/full", containerPath: "/dev/mine", permissions: "rw" }],
          linux: { securityContext },
        });
      };
      assert.equal(await owner(1001n, 2002n), "1001 2002");
      assert.equal(await owner(1001n), "1001 0");
      assert.equal(await owner(), "0 0");
    });

    test("a directory of devices is all that are in it", async () => {
      const script = "cd /dev/host; ls null fuse; ls -d pts shm fd 2>/dev/null; echo x > null && echo writable";
      assert.equal(
        await node.outputOf(pod, {
          command: ["sh", "-c", script],
          devices: [{ hostPath: "/dev", containerPath: "/dev/host", permissions: "rwm" }],
        }),
        "fuse\nnull\nwritable",
      );
    });

    test("limits that the configuration has for every container are there", async () => {
      const id = await node.runContainer(pod, "sleep 600");
      const { cgroup, pid } = await node.containerInfo(id);
      assert.match(readFileSync(`/proc/${pid}/limits`, "utf8"), /^Max open files +512 +1024 /m);
      assert.equal(readFileSync(join(controllerDir(detectCgroups(), cgroup, "pids")!, "pids.max"), "utf8"), "77\n");
      await node.removeContainer(id);
    });

    test("classes of block I/O come by annotation; one that is not defined, and RDT without resctrl, are refused by name", async () => {
      writeFileSync(
        blockioFile,
        "Classes:\n  slow:\n  - Devices: [/dev/loop0]\n    ThrottleReadBps: 1M\n    ThrottleWriteIOPS: 50\n",
      );
      const annotations = {
        "blockio.resources.beta.kubernetes.io/pod": "slow",
        "blockio.resources.beta.kubernetes.io/container.fast": "fast",
      };
      const its = await node.runPod({ annotations }, runtime);
      const id = await node.runContainer(its, "sleep 600");
      const { cgroup } = await node.containerInfo(id);
      const layout = detectCgroups();
      const file =
        layout.kind === "v2"
          ? join(controllerDir(layout, cgroup, "io")!, "io.max")
          : join(controllerDir(layout, cgroup, "blkio")!, "blkio.throttle.read_bps_device");
      assert.match(
        readFileSync(file, "utf8"),
        layout.kind === "v2" ? /^7:0 rbps=1000000 .*wiops=50/ : /^7:0 1000000$/m,
      );
      await rejectsWith(
        Code.FailedPrecondition,
        node.createContainer(its, { command: ["true"], metadata: { name: "fast" } }),
        /container\.fast\] asks for the class "fast": it is not defined/,
      );
      if (!existsSync("/sys/fs/resctrl/schemata")) {
        const rdt = { command: ["true"], annotations: { "io.kubernetes.cri.rdt-class": "gold" } };
        await rejectsWith(
          Code.FailedPrecondition,
          node.createContainer(pod, rdt),
          /annotations\[io\.kubernetes\.cri\.rdt-class\] asks for the class "gold": .*resctrl is not mounted/,
        );
      }
      await node.removePod(its.id);
    });

    test("a privileged container has the host's devices, or by its handler only their use, or neither", async () => {
      const privileged = {
        linux: { securityContext: { privileged: true, namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
      };
      const script = `test -e /dev/fuse && echo there; mknod /tmp/fuse c 10 229; ${opens("/tmp/fuse")}`;
      for (const [handler, expected] of [
        [runtime, "there\nreadable\nwritable"],
        [`maker-${runtime}`, "readable\nwritable"],
        [`bare-${runtime}`, "not readable\nnot writable"],
      ] as const) {
        const its = await node.runPod(privileged, handler);
        assert.equal(await node.outputOf(its, { command: ["sh", "-c", script], ...privileged }), expected, handler);
        await node.removePod(its.id);
      }
    });
  });
}
