// As whom and with which privileges a container runs, seen from inside, where the other tests leave off.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  type DeepPartial,
  type LinuxContainerSecurityContext,
  NamespaceMode,
  SecurityProfile_ProfileType as Profile,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { findBinary } from "@keelson/runtimes/find-program.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { file, symlink, type TarEntry } from "@keelson/testkit/tar.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { imageSpec, type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const ownPid = { namespaceOptions: { pid: NamespaceMode.CONTAINER } };
const netBindService = 1n << 10n;

function withSecurity(
  text: string,
  security: DeepPartial<LinuxContainerSecurityContext>,
  more: DeepPartial<ContainerConfig> = {},
): DeepPartial<ContainerConfig> {
  return { command: ["sh", "-c", text], linux: { securityContext: { ...ownPid, ...security } }, ...more };
}

/** The five sets of /proc/PID/status. */
function capabilitySets(status: string): Record<string, bigint> {
  return Object.fromEntries(
    [...status.matchAll(/^(Cap\w+):\t([0-9a-f]{16})$/gm)].map(([, set, hex]) => [set, BigInt(`0x${hex}`)]),
  );
}

function isAppArmorOn(): boolean {
  try {
    return (
      readFileSync("/sys/module/apparmor/parameters/enabled", "utf8").startsWith("Y") &&
      findBinary("apparmor_parser") !== undefined
    );
  } catch {
    return false;
  }
}

const useNode = shareNode();

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  describe(`a container with ${runtime}`, { skip: skipFor(runtime), concurrency: 3 }, () => {
    let node: TestNode;
    let pod: Pod;
    let privilegedPod: Pod;
    useNode(async (shared) => {
      node = shared;
      pod = await node.runPod({}, runtime);
      privilegedPod = await node.runPod({ linux: { securityContext: { privileged: true, ...ownPid } } }, runtime);
    });

    const output = (
      text: string,
      security: DeepPartial<LinuxContainerSecurityContext>,
      more: DeepPartial<ContainerConfig> = {},
    ) => node.outputOf(pod, withSecurity(text, security, more));
    const pullImage = async (name: string, config: { User?: string }, extra: TarEntry[] = []): Promise<string> => {
      const image = node.registry.add(`library/${name}`, "latest", busyboxImage({ config, extra }));
      await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
      return image;
    };

    test("runs as USER of its image in each form: uid, uid:gid, name, name:group and mixed", async () => {
      const cases: [string, string][] = [
        ["1002", "1002 0"],
        ["1003:1004", "1003 1004"],
        ["www-data", "33 33"],
        ["www-data:users", "33 100"],
        ["33", "33 33"],
        ["www-data:1004", "33 1004"],
        ["1002:users", "1002 100"],
      ];
      for (const [i, [user, ids]] of cases.entries()) {
        const image = await pullImage(`user-${i}`, { User: user });
        const id = await node.runContainer(pod, { image: { image }, command: ["sleep", "600"] });
        assert.equal((await node.output(id, "echo $(id -u) $(id -g)")).trim(), ids, user);
        const { user: told } = await node.containerStatus(id);
        assert.equal(`${told!.linux!.uid} ${told!.linux!.gid}`, ids, user);
        await node.removeContainer(id);
      }
    });

    test("is refused when its image does not know its user or group", async () => {
      for (const user of ["nosuch", "root:nosuch"]) {
        const image = await pullImage(`unknown-${user.length}`, { User: user });
        await rejectsWith(
          Code.InvalidArgument,
          node.createContainer(pod, { image: { image } }),
          /"nosuch" has no number: it is not in the image's \/etc\/(passwd|group)/,
        );
      }
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, withSecurity("true", { runAsGroup: { value: 1n } })),
        /run_as_group needs run_as_user/,
      );
    });

    test("has the users of its image alone, through links inside it and through none that lead out", async () => {
      const inside = await pullImage("linked-passwd", { User: "inside" }, [
        symlink("etc/passwd", "/lib/users"),
        file("lib/users", "inside:x:1234:5678::/:/bin/sh\n"),
      ]);
      assert.equal(
        await node.outputOf(pod, { image: { image: inside }, command: ["sh", "-c", "echo $(id -u) $(id -g)"] }),
        "1234 5678",
      );
      const outsideFile = join(node.dir, "outside-passwd");
      writeFileSync(outsideFile, "outsider:x:7:7::/:/bin/sh\n");
      for (const [i, target] of [outsideFile, `../../../../../../../../..${outsideFile}`].entries()) {
        const image = await pullImage(`escaping-passwd-${i}`, { User: "outsider" }, [symlink("etc/passwd", target)]);
        await rejectsWith(
          Code.InvalidArgument,
          node.createContainer(pod, { image: { image } }),
          /"outsider" has no number: the image has no \/etc\/passwd/,
        );
      }
    });

    test("keeps ambient capabilities as a user who is not root, in its process and in an exec", async () => {
      const security = {
        runAsUser: { value: 1000n },
        noNewPrivs: true,
        capabilities: { dropCapabilities: ["ALL"], addAmbientCapabilities: ["NET_BIND_SERVICE"] },
      };
      const id = await node.runContainer(pod, { ...withSecurity("", security), command: ["sleep", "600"] });
      const all = {
        CapInh: netBindService,
        CapPrm: netBindService,
        CapEff: netBindService,
        CapBnd: netBindService,
        CapAmb: netBindService,
      };
      assert.deepEqual(capabilitySets(await node.output(id, ["cat", "/proc/1/status"])), all);
      assert.deepEqual(capabilitySets(await node.output(id, ["cat", "/proc/self/status"])), all);
      await node.removeContainer(id);
    });

    test("has no inheritable, ambient or effective capabilities as a user who is not root, unless they are ambient", async () => {
      const id = await node.runContainer(pod, {
        ...withSecurity("", { runAsUser: { value: 1000n }, capabilities: { addCapabilities: ["NET_ADMIN"] } }),
        command: ["sleep", "600"],
      });
      for (const process of ["1", "self"]) {
        const { CapInh, CapPrm, CapEff, CapAmb, CapBnd } = capabilitySets(
          await node.output(id, ["cat", `/proc/${process}/status`]),
        );
        assert.deepEqual([CapInh, CapPrm, CapEff, CapAmb], [0n, 0n, 0n, 0n]);
        assert.notEqual(CapBnd! & (1n << 12n), 0n);
      }
      await node.removeContainer(id);
    });

    test("with empty lists of paths sees and writes all of /proc, as ProcMount Unmasked wants", async () => {
      const script =
        "grep -c ' /proc/' /proc/mounts; test -w /proc/sys/kernel/shm_rmid_forced && cat /proc/sys/kernel/shm_rmid_forced >/proc/sys/kernel/shm_rmid_forced && echo writable";
      assert.equal(await output(script, { maskedPaths: [], readonlyPaths: [] }), "0\nwritable");
      assert.match(await node.outputOf(pod, `${script} 2>/dev/null || true`), /^[1-9]\d*$/);
    });

    test("that is privileged may make cgroups, another may not", async () => {
      const script =
        "dir=/sys/fs/cgroup; test -d $dir/memory && dir=$dir/memory; mkdir $dir/made-inside && rmdir $dir/made-inside && echo made";
      assert.equal(await node.outputOf(privilegedPod, withSecurity(script, { privileged: true })), "made");
      assert.match(await output(`{ ${script}; } 2>&1 || true`, {}), /Read-only file system/);
    });

    test("is confined by the deprecated fields of seccomp, unless the new one says otherwise", async () => {
      const seccompOf = async (security: DeepPartial<LinuxContainerSecurityContext>) =>
        /^Seccomp:\t(\d)$/m.exec(await output("cat /proc/self/status", security))?.[1];
      assert.equal(await seccompOf({ seccompProfilePath: "runtime/default" }), "2");
      assert.equal(await seccompOf({ seccompProfilePath: "docker/default" }), "2");
      assert.equal(await seccompOf({ seccompProfilePath: "unconfined" }), "0");
      assert.equal(
        await seccompOf({ seccompProfilePath: "runtime/default", seccomp: { profileType: Profile.Unconfined } }),
        "0",
      );
      const profile = join(node.dir, "no-mkdir.json");
      writeFileSync(
        profile,
        JSON.stringify({
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" }],
        }),
      );
      assert.match(
        await output("mkdir /tmp/x 2>&1 || true", { seccompProfilePath: `localhost/${profile}` }),
        /Operation not permitted/,
      );
    });

    test("may open ports below 1024 as any user in a network of its own", async () => {
      // gVisor interrupts the first accept.
      const serve = "until nc -l -p 80 -e true; do :; done";
      const connect = "nc -w 1 127.0.0.1 80 </dev/null && echo open && exit";
      const script = `(${serve}) 2>/dev/null & for try in 1 2 3 4 5 6 7 8 9; do sleep 0.2; ${connect}; done`;
      assert.equal(
        await output(script, { runAsUser: { value: 1000n }, capabilities: { dropCapabilities: ["ALL"] } }),
        "open",
      );
    });

    test("gets its environment as it is: equals signs, newlines, the last of several", async () => {
      const value = (text: string) => Buffer.from(text);
      const envs = [
        { key: "A", value: value("first") },
        { key: "B", value: value("x=y=\nz\n=") },
        { key: "A", value: value("last") },
        { key: "EMPTY", value: value("") },
        { key: "UTF8", value: value("é\u2028") },
      ];
      const id = await node.runContainer(pod, { command: ["sleep", "600"], envs });
      for (const process of ["1", "self"]) {
        const found = (await node.output(id, ["cat", `/proc/${process}/environ`])).split("\0");
        for (const entry of ["A=last", "B=x=y=\nz\n=", "EMPTY=", "UTF8=é\u2028"])
          assert.equal(found.filter((e) => e === entry).length, 1, entry);
        assert.ok(!found.includes("A=first"));
      }
      await node.removeContainer(id);
    });

    test("has its working directory made when it is not there, also as another user", async () => {
      assert.equal(await output("pwd", {}, { workingDir: "/no/such/dir" }), "/no/such/dir");
      assert.equal(await output("pwd", { runAsUser: { value: 1000n } }, { workingDir: "/srv/a/../b" }), "/srv/b");
    });

    test("ends when it is stopped while its stdin is open, with a terminal and without", async () => {
      for (const tty of [false, true]) {
        const ending = await node.runContainer(pod, {
          ...withSecurity("trap 'exit 7' TERM; echo up; while :; do read -t 1 -r line || sleep 0.05; done", {}),
          stdin: true,
          tty,
        });
        // A shell that gets the signal just before it reads sees it only after that.
        // Before its trap is set, and even while it is still the runtime's own process, the signal does what it likes.
        await node.untilLogged(ending, tty ? "up\r" : "up");
        await node.stopContainer(ending, 30);
        assert.equal((await node.containerStatus(ending)).exitCode, 7);
        const reading = await node.runContainer(pod, { ...withSecurity("", {}), command: ["cat"], stdin: true, tty });
        await node.stopContainer(reading, 1);
        assert.ok((await node.containerStatus(reading)).exitCode > 128);
        await Promise.all([ending, reading].map((id) => node.removeContainer(id)));
      }
    });

    describe(
      "under AppArmor",
      { skip: isAppArmorOn() ? false : "this kernel has no AppArmor, or apparmor_parser is not installed" },
      () => {
        const current = async (security: DeepPartial<LinuxContainerSecurityContext>, in_ = pod) =>
          (await node.outputOf(in_, withSecurity("cat /proc/self/attr/current", security))).trim();
        const loaded = "keelson-test-no-writes";
        before(
          () =>
            void execFileSync("apparmor_parser", ["--replace", "--skip-cache"], {
              input: `profile ${loaded} flags=(attach_disconnected) { file, network, capability, signal, deny /tmp/** w, }\n`,
            }),
        );
        after(
          () =>
            void execFileSync("apparmor_parser", ["--remove"], {
              input: `profile ${loaded} flags=(attach_disconnected) { }\n`,
            }),
        );

        test("has the default profile unless it asks for another or none, or is privileged", async () => {
          assert.equal(await current({}), "keelson-default (enforce)");
          assert.equal(
            await current({ apparmor: { profileType: Profile.RuntimeDefault } }),
            "keelson-default (enforce)",
          );
          assert.equal(await current({ apparmor: { profileType: Profile.Unconfined } }), "unconfined");
          assert.equal(await current({ apparmorProfile: "unconfined" }), "unconfined");
          assert.equal(await current({ privileged: true }, privilegedPod), "unconfined");
        });

        test("has a profile of the node, by the new field or the deprecated one, and is held by it", async () => {
          for (const security of [
            { apparmor: { profileType: Profile.Localhost, localhostRef: loaded } },
            { apparmorProfile: `localhost/${loaded}` },
          ]) {
            assert.equal(await current(security), `${loaded} (enforce)`);
            assert.match(await output("touch /tmp/x 2>&1 || true", security), /Permission denied/);
          }
        });

        test("is refused with a profile that is not loaded, which is named", async () => {
          await rejectsWith(
            Code.FailedPrecondition,
            node.createContainer(pod, withSecurity("true", { apparmorProfile: "localhost/no-such-profile" })),
            /"no-such-profile" is not loaded/,
          );
        });

        test("cannot mount or write the machine's settings even with every capability", async () => {
          const security = { capabilities: { addCapabilities: ["ALL"] }, maskedPaths: [], readonlyPaths: [] };
          assert.match(
            await output("mkdir -p /tmp/m; mount -t tmpfs none /tmp/m 2>&1 || true", security),
            /denied|not permitted/i,
          );
          assert.match(
            await output("{ echo 1 >/proc/sys/vm/drop_caches; } 2>&1 || true", security),
            /denied|not permitted/i,
          );
        });
      },
    );
  });
}

test("ports below 1024 need a capability where the configuration says so", { skip }, async () => {
  await using node = await TestNode.start({
    config: "[pods]\nunprivileged_ports = false\nunprivileged_ping = false\n",
  });
  const pod = await node.runPod();
  const nobody = { runAsUser: { value: 1000n }, capabilities: { dropCapabilities: ["ALL"] } };
  assert.match(await node.outputOf(pod, withSecurity("nc -l -p 80 -e true 2>&1 || true", nobody)), /Permission denied/);
  assert.match(await node.outputOf(pod, withSecurity("cat /proc/sys/net/ipv4/ping_group_range", {})), /^1\t0$/);
});
