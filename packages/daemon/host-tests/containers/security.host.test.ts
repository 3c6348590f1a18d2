// What a container may do and whom it runs as.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  type DeepPartial,
  type LinuxContainerSecurityContext,
  NamespaceMode,
  SecurityProfile_ProfileType as Profile,
  SupplementalGroupsPolicy,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { imageSpec, type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const pidOfContainer = { namespaceOptions: { pid: NamespaceMode.CONTAINER } };

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
      privilegedPod = await node.runPod(
        { linux: { securityContext: { privileged: true, ...pidOfContainer } } },
        runtime,
      );
    });

    const withSecurity = (
      text: string,
      security: DeepPartial<LinuxContainerSecurityContext>,
      more: DeepPartial<ContainerConfig> = {},
    ) =>
      ({
        command: ["sh", "-c", text],
        linux: { securityContext: { ...pidOfContainer, ...security } },
        ...more,
      }) satisfies DeepPartial<ContainerConfig>;
    const output = (
      text: string,
      security: DeepPartial<LinuxContainerSecurityContext>,
      more: DeepPartial<ContainerConfig> = {},
    ) => node.outputOf(pod, withSecurity(text, security, more));
    /** A capability set of process 1 and of an exec. */
    const capabilities = (text: string, set: string) =>
      BigInt(`0x${new RegExp(`^${set}:\\t([0-9a-f]{16})$`, "m").exec(text)![1]!}`);

    test("runs as the user and with the groups that are asked for, and so does an exec", async () => {
      const cases: [DeepPartial<LinuxContainerSecurityContext>, string, string, string][] = [
        [{}, "0", "0", "0"],
        [{ runAsUser: { value: 1001n } }, "1001", "0", "0"],
        [{ runAsUser: { value: 1001n }, runAsGroup: { value: 2002n } }, "1001", "2002", "2002"],
        [{ runAsUsername: "nobody" }, "65534", "65534", "100 65534"],
        [{ runAsUser: { value: 33n } }, "33", "33", "33 100"],
        [{ runAsUser: { value: 33n }, supplementalGroups: [1234n, 50_000n] }, "33", "33", "33 100 1234 50000"],
        [
          {
            runAsUser: { value: 33n },
            supplementalGroups: [1234n],
            supplementalGroupsPolicy: SupplementalGroupsPolicy.Strict,
          },
          "33",
          "33",
          "33 1234",
        ],
      ];
      for (const [security, uid, gid, groups] of cases) {
        const id = await node.runContainer(pod, withSecurity("id -u; id -g; id -G; sleep 600", security));
        const sorted = (text: string) =>
          text
            .trim()
            .split(/\s+/)
            .map(Number)
            .sort((a, b) => a - b)
            .join(" ");
        await waitFor(async () => (await node.log(id)).length >= 3);
        const [loggedUid, loggedGid, loggedGroups] = (await node.log(id)).map((entry) => entry.text);
        assert.deepEqual(
          [loggedUid, loggedGid, sorted(loggedGroups!)],
          [uid, gid, groups],
          JSON.stringify(Object.keys(security)),
        );
        const inExec = (await node.output(id, "id -u; id -g; id -G")).trim().split("\n");
        assert.deepEqual([inExec[0], inExec[1], sorted(inExec[2]!)], [uid, gid, groups]);
        const { user } = await node.containerStatus(id);
        assert.deepEqual(
          [
            user?.linux?.uid,
            user?.linux?.gid,
            user?.linux?.supplementalGroups
              .map(Number)
              .sort((a, b) => a - b)
              .join(" "),
          ],
          [BigInt(uid), BigInt(gid), groups],
        );
        await node.removeContainer(id);
      }
    });

    test("runs as the image's user", async () => {
      const image = node.registry.add(
        "library/with-user",
        "latest",
        busyboxImage({ config: { User: "www-data", WorkingDir: "/home" } }),
      );
      await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
      assert.equal(
        (await node.call("imageStatus", { image: imageSpec(image), verbose: false })).image?.username,
        "www-data",
      );
      assert.equal(
        await node.outputOf(pod, { image: { image }, command: ["sh", "-c", "id -u; id -g; pwd"] }),
        "33\n33\n/home",
      );
    });

    test("has the default capabilities, or those that are added and dropped", async () => {
      const statusWith = (add: string[], drop: string[], more: DeepPartial<LinuxContainerSecurityContext> = {}) =>
        output("cat /proc/self/status", { capabilities: { addCapabilities: add, dropCapabilities: drop }, ...more });
      const [netRaw, netAdmin, sysAdmin, chown] = [13n, 12n, 21n, 0n].map((bit) => 1n << bit) as [
        bigint,
        bigint,
        bigint,
        bigint,
      ];
      const byDefault = capabilities(await statusWith([], []), "CapBnd");
      assert.deepEqual([byDefault & netAdmin, byDefault & sysAdmin, byDefault & chown], [0n, 0n, chown]);
      assert.equal(capabilities(await statusWith(["NET_ADMIN"], []), "CapEff"), byDefault | netAdmin);
      assert.equal(capabilities(await statusWith([], ["CHOWN"]), "CapEff"), byDefault & ~chown);
      assert.match(await statusWith([], ["ALL"]), /^CapBnd:\t0000000000000000$/m);
      assert.equal(capabilities(await statusWith(["NET_RAW"], ["ALL"]), "CapBnd"), netRaw);
      const all = capabilities(await statusWith(["ALL"], []), "CapBnd");
      assert.ok((all & sysAdmin) !== 0n && (all & netAdmin) !== 0n);
      assert.equal(capabilities(await statusWith(["ALL"], ["NET_ADMIN"]), "CapBnd"), all & ~netAdmin);
      const ambient = await output("cat /proc/self/status", {
        runAsUser: { value: 1000n },
        capabilities: { addAmbientCapabilities: ["NET_ADMIN"] },
      });
      assert.equal(capabilities(ambient, "CapEff"), netAdmin);
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, withSecurity("true", { capabilities: { addCapabilities: ["NO_SUCH"] } })),
        /NO_SUCH/,
      );
    });

    test("cannot change the network without NET_ADMIN", async () => {
      const id = await node.runContainer(pod, withSecurity("sleep 600", {}));
      assert.notEqual((await node.exec(id, "brctl addbr foo")).exitCode, 0);
      const able = await node.runContainer(
        pod,
        withSecurity("sleep 600", { capabilities: { addCapabilities: ["NET_ADMIN"] } }),
      );
      assert.equal((await node.exec(able, "brctl addbr foo && brctl delbr foo")).exitCode, 0);
      await Promise.all([id, able].map((id) => node.removeContainer(id)));
    });

    test("is confined by seccomp as asked", async () => {
      const seccompOf = async (security: DeepPartial<LinuxContainerSecurityContext>) =>
        /^Seccomp:\t(\d)$/m.exec(await output("cat /proc/self/status", security))?.[1];
      assert.equal(await seccompOf({ seccomp: { profileType: Profile.RuntimeDefault } }), "2");
      assert.equal(await seccompOf({ seccomp: { profileType: Profile.Unconfined } }), "0");
      assert.equal(await seccompOf({}), "0");
      const profile = join(node.dir, "no-chmod.json");
      writeFileSync(
        profile,
        JSON.stringify({
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [{ names: ["chmod", "fchmodat", "fchmodat2"], action: "SCMP_ACT_ERRNO" }],
        }),
      );
      const localhost = { seccomp: { profileType: Profile.Localhost, localhostRef: profile } };
      assert.match(await output("touch /tmp/f; chmod 400 /tmp/f 2>&1 || true", localhost), /Operation not permitted/);
      await assert.rejects(
        node.createContainer(
          pod,
          withSecurity("true", { seccomp: { profileType: Profile.Localhost, localhostRef: "/no/such/profile.json" } }),
        ),
        /\/no\/such\/profile\.json/,
      );
      const id = await node.runContainer(
        pod,
        withSecurity("sleep 600", { seccomp: { profileType: Profile.RuntimeDefault } }),
      );
      assert.match(await node.output(id, "cat /proc/self/status"), /^Seccomp:\t2$/m);
      assert.notEqual((await node.exec(id, "unshare -U true")).exitCode, 0);
      await node.removeContainer(id);
    });

    test("gains no privileges when it must not", async () => {
      const noNewPrivs = async (value: boolean) =>
        /^NoNewPrivs:\t(\d)$/m.exec(await output("cat /proc/self/status", { noNewPrivs: value }))?.[1];
      assert.deepEqual([await noNewPrivs(true), await noNewPrivs(false)], ["1", "0"]);
    });

    test("cannot write to a read-only root, but to what is mounted", async () => {
      mkdirSync(join(node.dir, "ro-data"), { recursive: true });
      const text = await output(
        "touch /tmp/x 2>&1; touch /x 2>&1; echo ok >/dev/shm/y && cat /dev/shm/y; echo d >/data/z && cat /data/z",
        { readonlyRootfs: true },
        { mounts: [{ hostPath: join(node.dir, "ro-data"), containerPath: "/data" }] },
      );
      assert.equal(text, "touch: /tmp/x: Read-only file system\ntouch: /x: Read-only file system\nok\nd");
      assert.equal(await output("touch /tmp/x && echo ok", { readonlyRootfs: false }), "ok");
    });

    test("does not see masked paths and cannot write read-only ones", async () => {
      const masked = await output(
        "cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l; touch /tmp/test 2>&1; ls /bin/ls >/dev/null; /bin/cat /etc/passwd 2>&1 | wc -c",
        {
          maskedPaths: ["/proc/timer_list", "/sys/firmware", "/etc/passwd", "/no/such/path"],
          readonlyPaths: ["/tmp", "/no/such/path"],
        },
      );
      assert.equal(masked, "0\n0\ntouch: /tmp/test: Read-only file system\n0");
      const byDefault = await node.outputOf(
        pod,
        "echo 1 >/proc/sysrq-trigger; cat /proc/timer_list | wc -c; echo; grep -c ' /proc/sys ' /proc/mounts",
      );
      assert.match(byDefault, /^0\n\n1$/);
    });

    test("that is privileged may do everything and sees the devices", async () => {
      const id = await node.runContainer(privilegedPod, withSecurity("sleep 600", { privileged: true }));
      const ours = capabilities(readFileSync("/proc/self/status", "utf8"), "CapBnd");
      const status = await node.output(id, "cat /proc/self/status");
      assert.equal(capabilities(status, "CapEff"), ours);
      assert.match(status, /^Seccomp:\t0$/m);
      await node.output(id, "mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && umount /tmp/m");
      await node.output(id, "brctl addbr foo && brctl delbr foo");
      await node.output(id, "test -w /proc/sys/kernel/msgmax && test -e /dev/kmsg");
      assert.match(await node.output(id, "grep ' /sys ' /proc/mounts"), / rw[, ]/);
      await node.removeContainer(id);
      const plain = await node.runContainer(pod, withSecurity("sleep 600", {}));
      assert.notEqual((await node.exec(plain, "mkdir -p /tmp/m && mount -t tmpfs none /tmp/m")).exitCode, 0);
      assert.notEqual((await node.exec(plain, "test -e /dev/kmsg")).exitCode, 0);
      assert.match(await node.output(plain, "grep ' /sys ' /proc/mounts"), / ro[, ]/);
      assert.equal(
        await node.output(plain, "ls /dev | grep -v core"),
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n",
      );
      await node.removeContainer(plain);
    });

    test("has a terminal when it asks for one", async () => {
      const id = await node.runContainer(pod, {
        command: ["sh", "-c", "tty; test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM; sleep 600"],
        tty: true,
        stdin: true,
      });
      await waitFor(async () => (await node.log(id)).length >= 3);
      const [device, all, term] = (await node.log(id)).map((entry) => entry.text.trimEnd());
      assert.match(device!, /^\/dev\//);
      assert.deepEqual([all, term], ["all", "xterm"]);
      assert.equal((await node.exec(id, "test -t 1")).exitCode, 1, "ExecSync has none");
      await node.removeContainer(id);
    });

    test("has an end of input at once without stdin, and waits with it", async () => {
      assert.equal(await node.outputOf(pod, "cat; echo eof"), "eof");
      const id = await node.runContainer(pod, { command: ["sh", "-c", "echo up; cat; echo eof"], stdin: true });
      await node.untilLogged(id, "up");
      await waitFor(async () => (await node.exec(id, "ps")).stdout.split("\n").some((line) => line.endsWith(" cat")));
      assert.deepEqual(
        (await node.log(id)).map((entry) => entry.text),
        ["up"],
      );
      await node.removeContainer(id);
    });

    test("that cannot be made leaves nothing, and can be made when the reason is gone", async () => {
      const config = node.containerConfig({
        command: ["true"],
        mounts: [{ hostPath: join(node.dir, "config.toml/below-a-file"), containerPath: "/x" }],
      });
      const request = { podSandboxId: pod.id, config, sandboxConfig: pod.config };
      await assert.rejects(node.call("createContainer", request), /config\.toml/);
      const fixed = { ...config, mounts: [] };
      const { containerId } = await node.call("createContainer", { ...request, config: fixed });
      await node.removeContainer(containerId);
    });
  });
}
