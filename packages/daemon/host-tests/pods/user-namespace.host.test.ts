// Pods with a user namespace of their own, seen from inside and from the host.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  type DeepPartial,
  type LinuxContainerSecurityContext,
  type Mount,
  MountPropagation,
  NamespaceMode,
  type NamespaceOption,
  type PodSandboxConfig,
  type UserNamespace,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { mount, MS, mountsUnder, unmount } from "@keelson/linux/mount.ts";
import { namespaceId } from "@keelson/linux/namespace.ts";
import { readStatus } from "@keelson/linux/procfs.ts";
import { connectRemote, parseStatus } from "@keelson/streaming/testing/stream-clients.ts";
import { linesOf } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { directory, file, symlink } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { shareNode } from "../testing/shared-node.ts";
import { imageSpec, type Pod, rejectsWith, runtimes, TestNode } from "../testing/test-node.ts";

const [rootUid, rootGid] = [200_000, 300_000];
const mapping = (hostId: number, length = 65_536) => [{ containerId: 0, hostId, length }];
const userNamespace: UserNamespace = { mode: NamespaceMode.POD, uids: mapping(rootUid), gids: mapping(rootGid) };
const mappings = { uidMappings: userNamespace.uids, gidMappings: userNamespace.gids };
const own: DeepPartial<NamespaceOption> = { pid: NamespaceMode.CONTAINER, usernsOptions: userNamespace };

const ownersOf = (path: string) => `${lstatSync(path).uid} ${lstatSync(path).gid}`;

const useNode = shareNode({ onDisk: true });

for (const runtime of runtimes) {
  describe(`a pod with a user namespace, with ${runtime}`, { skip }, () => {
    let node: TestNode;
    let pod: Pod;
    useNode(async (shared) => {
      node = shared;
      pod = await runPod();
    });

    const runPod = (
      namespaceOptions: DeepPartial<NamespaceOption> = {},
      more: DeepPartial<PodSandboxConfig["linux"] & object> = {},
      rest: DeepPartial<PodSandboxConfig> = {},
    ) =>
      node.runPod(
        {
          linux: {
            ...more,
            securityContext: { ...more.securityContext, namespaceOptions: { ...own, ...namespaceOptions } },
          },
          ...rest,
        },
        runtime,
      );
    const script = (
      text: string,
      security: DeepPartial<LinuxContainerSecurityContext> = {},
      more: DeepPartial<ContainerConfig> = {},
    ) =>
      ({
        command: ["sh", "-c", text],
        linux: { securityContext: { namespaceOptions: own, ...security } },
        ...more,
      }) satisfies DeepPartial<ContainerConfig>;
    const output = (
      text: string,
      security: DeepPartial<LinuxContainerSecurityContext> = {},
      more: DeepPartial<ContainerConfig> = {},
    ) => node.outputOf(pod, script(text, security, more));
    const upperOf = (id: string) => join(node.root, "containers", id, "upper");
    function newDir(name: string): string {
      const dir = join(node.dir, `volumes-${runtime}`, name);
      mkdirSync(dir, { recursive: true });
      return dir;
    }

    /** Mounts another directory of the disk there: tmpfs has no idmapped mounts before Linux 6.3. */
    function mountDisk(target: string, flags = 0): void {
      mount({ source: newDir(`${basename(target)}-disk`), target, flags: MS.BIND });
      mount({ target, flags: MS.BIND | MS.REMOUNT | flags });
    }

    test("its handler says that it can, and so does the status for the host's network", async () => {
      const { runtimeHandlers, features } = await node.call("status", { verbose: false });
      for (const name of ["", "crun", "runc"])
        assert.deepEqual(
          runtimeHandlers.find((h) => h.name === name)?.features,
          { recursiveReadOnlyMounts: true, userNamespaces: true },
          name,
        );
      assert.equal(features?.userNamespacesHostNetwork, true);
    });

    test("its containers are root inside and nobody on the host, in the pod's user namespace", async () => {
      const id = await node.runContainer(pod, script("sleep 1000"));
      assert.match(
        await node.output(id, "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map"),
        /^0\n0\n\s+0\s+200000\s+65536\n\s+0\s+300000\s+65536\n$/,
      );
      const { pid } = await node.containerInfo(id);
      assert.deepEqual([readStatus(pid)?.uids[0], readStatus(pid)?.gids[0]], [rootUid, rootGid]);
      const second = await node.runContainer(pod, script("sleep 1000"));
      const other = await runPod();
      const third = await node.runContainer(other, script("sleep 1000"));
      const [a, b, c] = await Promise.all(
        [id, second, third].map(async (each) => namespaceId(`/proc/${(await node.containerInfo(each)).pid}/ns/user`)),
      );
      assert.equal(a, b);
      assert.notEqual(a, c);
      assert.notEqual(a, namespaceId("/proc/self/ns/user"));
      for (const each of [id, second]) await node.removeContainer(each);
      await node.removePod(other.id);
    });

    test("the image's files are the container's, and what it writes is mapped on disk", async () => {
      const content = busyboxImage({
        extra: [
          directory("srv/"),
          file("srv/of-www", "w", { uid: 33, gid: 33 }),
          file("srv/secret", "s", { mode: 0o600 }),
          file("srv/far", "f", { uid: 70_000, gid: 70_000 }),
        ],
      });
      const image = node.registry.add("library/owners", "latest", content);
      await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
      const id = await node.runContainer(pod, script("sleep 1000", {}, { image: { image } }));
      assert.equal(
        await node.output(id, "cd /srv; stat -c '%u %g' of-www secret far / /bin/sh; cat secret"),
        "33 33\n0 0\n65534 65534\n0 0\n0 0\ns",
      );
      await node.output(id, "cd /srv; echo more >>of-www; touch new; chown 7:8 new; mkdir -p /a/b");
      const upper = upperOf(id);
      assert.deepEqual(
        ["srv/of-www", "srv/new", "a/b", "."].map((path) => ownersOf(join(upper, path))),
        ["200033 300033", "200007 300008", "200000 300000", "200000 300000"],
      );
      const layers = readdirSync(join(node.root, "layers"), { recursive: true, encoding: "utf8" }).filter((path) =>
        path.endsWith("srv/of-www"),
      );
      assert.deepEqual(
        layers.map((path) => ownersOf(join(node.root, "layers", path))),
        ["33 33"],
      );
      await node.removeContainer(id);
      assert.equal(
        await output("id -u; id -g", {
          runAsUser: { value: 1001n },
          runAsGroup: { value: 2002n },
          supplementalGroups: [5000n],
        }),
        "1001\n2002",
      );
    });

    test("its other namespaces are its own: root has its capabilities over them", async () => {
      const sysctls = { "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "100" };
      const able = { capabilities: { addCapabilities: ["NET_ADMIN", "SYS_ADMIN"] } };
      const apart = await runPod({}, { sysctls }, { hostname: "apart" });
      const id = await node.runContainer(apart, script("sleep 1000", able));
      assert.equal(
        await node.output(
          id,
          "cd /proc/sys; cat net/ipv4/ip_forward kernel/shm_rmid_forced fs/mqueue/msg_max net/ipv4/ip_unprivileged_port_start; hostname",
        ),
        "1\n1\n100\n0\napart\n",
      );
      assert.equal(
        await node.output(
          id,
          "ip link add br7 type bridge && ip -o link show br7 | wc -l; hostname changed; hostname; echo 7 >/proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        ),
        "1\nchanged\n7\n",
      );
      assert.match(
        await node.output(
          id,
          "cat /sys/class/net/eth0/address; mount | grep ' on /sys '; mount | grep ' on /dev/mqueue '",
        ),
        /^[0-9a-f:]{17}\nsysfs on \/sys type sysfs \(ro.*\n\w+ on \/dev\/mqueue type mqueue/,
      );
      const unable = await node.runContainer(apart, script("sleep 1000"));
      assert.notEqual((await node.exec(unable, "ip link add br8 type bridge")).exitCode, 0);
      assert.notEqual((await node.exec(id, "echo 1 >/proc/sys/kernel/panic")).exitCode, 0);
      assert.match((await node.exec(id, "date -s 2020-01-01")).stderr, /not permitted/);
      await node.removePod(apart.id);
    });

    test("it may share one PID namespace, held by an init without rights", async () => {
      const shared = await runPod({ pid: NamespaceMode.POD });
      const namespaceOptions = { ...own, pid: NamespaceMode.POD };
      const id = await node.runContainer(shared, script("sleep 1000", { namespaceOptions }));
      assert.match(await node.output(id, "ps -o pid,user,args"), /^\s*1 65535\s.*keelson-pod-init/m);
      assert.notEqual((await node.exec(id, "readlink /proc/1/root || readlink /proc/1/cwd")).exitCode, 0);
      await node.removePod(shared.id);
    });

    test("/dev/shm and the pod's files belong to its root", async () => {
      const text = await output(
        "stat -c '%u %g %a' /dev/shm /etc/hosts /etc/hostname /etc/resolv.conf | sort -u; echo '10.0.0.1 other' >>/etc/hosts; echo x >/dev/shm/x; stat -c '%u %g' /dev/shm/x; echo >/dev/null; stat -c %t,%T /dev/null",
      );
      assert.match(text, /^0 0 1777\n0 0 \d+\n(0 0 \d+\n)?0 0\n1,3$/);
      assert.match(
        await output("touch /x 2>&1; touch /etc/hosts 2>&1; touch /dev/shm/y && echo shm", { readonlyRootfs: true }),
        /\/x: Read-only.*\n.*\/etc\/hosts: Read-only.*\nshm$/,
      );
    });

    test("a volume with the pod's mappings has the same owners inside as on disk, both ways", async () => {
      const dir = newDir("mapped");
      writeFileSync(join(dir, "of-root"), "r", { mode: 0o600 });
      writeFileSync(join(dir, "of-7"), "7");
      chownSync(join(dir, "of-7"), 7, 8);
      mkdirSync(join(dir, "inner"));
      mountDisk(join(dir, "inner"));
      const mounts: DeepPartial<Mount>[] = [
        { hostPath: dir, containerPath: "/data", ...mappings },
        { hostPath: dir, containerPath: "/ro", readonly: true, ...mappings },
        { hostPath: join(dir, "of-root"), containerPath: "/etc/one-file", ...mappings },
        { hostPath: dir, containerPath: "/unmapped" },
      ];
      const id = await node.runContainer(pod, script("sleep 1000", {}, { mounts }));
      assert.equal(
        await node.output(
          id,
          "stat -c '%u %g' /data /data/of-root /data/of-7 /etc/one-file /unmapped/of-7; cat /data/of-root /etc/one-file",
        ),
        "0 0\n0 0\n7 8\n0 0\n65534 65534\nrr",
      );
      await node.output(id, "cd /data; touch new of-5; chown 5:6 of-5; echo x >>/etc/one-file; touch inner/deep");
      assert.deepEqual(
        ["new", "of-5", "inner/deep"].map((name) => ownersOf(join(dir, name))),
        ["0 0", "5 6", "0 0"],
      );
      assert.equal(readFileSync(join(dir, "of-root"), "utf8"), "rx\n");
      for (const command of ["touch /ro/x", "touch /unmapped/x", "cat /unmapped/of-root"])
        assert.notEqual((await node.exec(id, command)).exitCode, 0, command);
      const { bundle } = await node.containerInfo(id);
      assert.deepEqual(
        mountsUnder(bundle).map((m) => m.target),
        [join(bundle, "rootfs")],
        "nothing but the root is left on the host",
      );
      await node.removeContainer(id);
      unmount(join(dir, "inner"));
    });

    test("a volume may have mappings of its own, also outside of a user namespace", async () => {
      const dir = newDir("other-mappings");
      writeFileSync(join(dir, "f"), "");
      chownSync(join(dir, "f"), 1000, 1000);
      const mounts = [
        {
          hostPath: dir,
          containerPath: "/data",
          uidMappings: [{ containerId: 1000, hostId: rootUid + 5, length: 1 }],
          gidMappings: [{ containerId: 1000, hostId: rootGid + 6, length: 1 }],
        },
      ];
      assert.equal(await output("stat -c '%u %g' /data/f", {}, { mounts }), "5 6");
      const plain = await node.runPod({}, runtime);
      assert.equal(
        await node.outputOf(plain, { command: ["stat", "-c", "%u %g", "/data/f"], mounts }),
        "200005 300006",
      );
      await node.removePod(plain.id);
    });

    test("a volume keeps the flags of its file system, and sees what is mounted there later", async () => {
      const dir = newDir("flags");
      mountDisk(dir, MS.NOSUID | MS.NODEV | MS.NOEXEC);
      mount({ target: dir, flags: MS.SHARED });
      mkdirSync(join(dir, "later"));
      const mounts = [
        { hostPath: dir, containerPath: "/plain", readonly: true },
        {
          hostPath: dir,
          containerPath: "/mapped",
          readonly: true,
          propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
          ...mappings,
        },
      ];
      const id = await node.runContainer(pod, script("sleep 1000", {}, { mounts }));
      for (const target of ["/plain", "/mapped"])
        assert.match(
          await node.output(id, `grep ' ${target} ' /proc/self/mountinfo`),
          new RegExp(` ${target} ro,nosuid,nodev,noexec`),
        );
      mountDisk(join(dir, "later"));
      writeFileSync(join(dir, "later/here"), "");
      assert.equal(await node.output(id, "ls /mapped/later; ls /plain/later"), "here\n");
      unmount(join(dir, "later"));
      await waitFor(async () => (await node.output(id, "ls /mapped/later")) === "");
      await node.removeContainer(id);
      unmount(dir);
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(
          pod,
          script(
            "true",
            {},
            {
              mounts: [{ hostPath: dir, containerPath: "/x", propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL }],
            },
          ),
        ),
        /user namespace/,
      );
    });

    test("a volume on a file system that cannot map is refused by its name, and leaves nothing", async () => {
      const dir = newDir("proc");
      mount({ source: "p", target: dir, fstype: "proc" });
      const bundles = () => readdirSync(join(node.state, "containers"));
      const before = bundles();
      const refused = node.createContainer(
        pod,
        script("true", {}, { mounts: [{ hostPath: dir, containerPath: "/x", ...mappings }] }),
      );
      await rejectsWith(
        Code.FailedPrecondition,
        refused,
        new RegExp(`${dir} cannot be shown with other ids: proc, mounted at ${dir}`),
      );
      unmount(dir);
      assert.deepEqual(bundles(), before);
    });

    test("images as volumes and volumes that images declare have the container's owners", async () => {
      const content = busyboxImage({
        config: { Volumes: { "/data": {}, "/empty": {} } },
        extra: [directory("data/"), file("data/of-7", "7", { uid: 7, gid: 8 })],
      });
      const image = node.registry.add("library/volumes", "latest", content);
      await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
      const mounts = [
        { image: { image }, containerPath: "/image", readonly: true },
        { image: { image }, containerPath: "/image-data", imageSubPath: "data", readonly: true, ...mappings },
      ];
      const text = await output(
        "stat -c '%u %g' /data/of-7 /empty /image/data/of-7 /image-data/of-7; touch /empty/x && chown 9 /empty/x && stat -c %u /empty/x",
        {},
        { image: { image }, mounts },
      );
      assert.equal(text, "7 8\n0 0\n7 8\n7 8\n9");
    });

    test("what is made behind links of the image that lead nowhere is its root's", async () => {
      const image = node.registry.add(
        "library/behind",
        "latest",
        busyboxImage({ extra: [symlink("var/spool", "/lib/spool")] }),
      );
      await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
      const mounts = [{ hostPath: newDir("behind"), containerPath: "/var/spool/app/x", ...mappings }];
      assert.equal(
        await output(
          "stat -c '%u %g' /lib /lib/spool /lib/spool/app; grep -c ' /lib/spool/app/x ' /proc/self/mountinfo",
          {},
          { image: { image }, mounts },
        ),
        "0 0\n0 0\n0 0\n1",
      );
    });

    test("it may be in the host's network, and shows the host's /sys without changing it", async () => {
      const hosts = await runPod({ network: NamespaceMode.NODE });
      const namespaceOptions = { ...own, network: NamespaceMode.NODE };
      const id = await node.runContainer(
        hosts,
        script("sleep 1000", { namespaceOptions, capabilities: { addCapabilities: ["ALL"] } }),
      );
      const { pid } = await node.containerInfo(id);
      assert.equal(namespaceId(`/proc/${pid}/ns/net`), namespaceId("/proc/self/ns/net"));
      assert.match(
        await node.output(
          id,
          "cat /proc/self/uid_map; ls /sys/class/net; ls /sys/fs/cgroup | head -1; ls /sys/kernel/debug | wc -l",
        ),
        /200000[^]*\nuplink0\n[a-z]+[^]*\n0\n$/,
      );
      for (const command of [
        "ip link add br9 type bridge",
        "touch /sys/x",
        "mount -o remount,rw /sys",
        "echo 1 >/proc/sys/net/ipv4/ip_forward",
      ])
        assert.notEqual((await node.exec(id, command)).exitCode, 0, command);
      await node.removePod(hosts.id);
    });

    test("its privileged containers are so within it only", async () => {
      const privileged = await runPod({}, { securityContext: { privileged: true } });
      const id = await node.runContainer(privileged, script("sleep 1000", { privileged: true }));
      assert.equal(
        await node.output(
          id,
          "mount -t tmpfs t /mnt 2>/dev/null || { mkdir -p /mnt && mount -t tmpfs t /mnt; }; mount | grep -c ' on /mnt '; ip link add br7 type bridge && echo able",
        ),
        "1\nable\n",
      );
      for (const command of ["echo 1 >/proc/sys/kernel/panic", "mknod /x b 254 0"])
        assert.notEqual((await node.exec(id, command)).exitCode, 0, command);
      await node.removePod(privileged.id);
    });

    test("devices are the host's", async () => {
      const devices = [{ hostPath: "/dev/full", containerPath: "/dev/my-full", permissions: "rw" }];
      const text = await output(
        "stat -c '%t,%T %u %g %a' /dev/my-full; echo x 2>/dev/null >/dev/my-full || echo full; ls /dev | wc -l",
        {},
        { devices },
      );
      assert.match(text, /^1,7 0 0 666\nfull\n\d+$/);
      assert.equal(ownersOf("/dev/full"), "0 0");
    });

    test("standard streams belong to the process's user, who can open them again", async () => {
      const text = "echo out >/dev/stdout && echo err >/dev/stderr";
      for (const security of [{}, { runAsUser: { value: 1001n }, runAsGroup: { value: 1002n } }]) {
        const name = JSON.stringify(Object.keys(security));
        const id = await node.runContainer(pod, script(`${text} && exec sleep 1000`, security));
        await waitFor(async () => linesOf(await node.log(id), "stderr").length === 1, {
          message: `its log with ${name}`,
        });
        assert.deepEqual(linesOf(await node.log(id)), ["out"], name);
        const { exitCode, stdout, stderr } = await node.exec(id, text);
        assert.deepEqual([exitCode, stdout, stderr], [0, "out\n", "err\n"], name);
        const { url } = await node.call("exec", {
          containerId: id,
          cmd: ["sh", "-c", `read line </dev/stdin && ${text} && echo $line`],
          stdin: true,
          stdout: true,
          stderr: true,
          tty: false,
        });
        const client = await connectRemote("spdy", url, { stdin: true, stdout: true, stderr: true });
        await client.write("in\n");
        client.endStdin();
        assert.equal(parseStatus(await client.ended).exitCode, 0, `${client.stderr().toString()} with ${name}`);
        assert.deepEqual([client.stdout().toString(), client.stderr().toString()], ["out\nin\n", "err\n"], name);
        await node.removeContainer(id);
      }
    });

    test("the host's /dev/null stays the host's", async () => {
      const id = await node.runContainer(pod, script("sleep 1000", { runAsUser: { value: 1001n } }));
      await node.exec(id, "chmod 000 /dev/null /proc/1/fd/0 /proc/self/fd/0");
      const plain = await node.runPod({}, runtime);
      const second = await node.runContainer(plain, {
        command: ["sleep", "1000"],
        linux: { securityContext: { runAsUser: { value: 1001n }, namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
      });
      await node.exec(second, "chmod 000 /proc/1/fd/0 /proc/self/fd/0");
      const { uid, gid, mode } = statSync("/dev/null");
      assert.deepEqual([uid, gid, (mode & 0o777).toString(8)], [0, 0, "666"]);
      await node.removeContainer(id);
      await node.removePod(plain.id);
    });

    test("it may have a single id, and users that it does not have are refused", async () => {
      const one: UserNamespace = { mode: NamespaceMode.POD, uids: mapping(rootUid, 1), gids: mapping(rootGid, 1) };
      const small = await runPod({ usernsOptions: one, pid: NamespaceMode.POD });
      const namespaceOptions = { usernsOptions: one, pid: NamespaceMode.POD };
      assert.equal(await node.outputOf(small, script("id -u; stat -c %u /bin/sh", { namespaceOptions })), "0\n0");
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(small, script("true", { namespaceOptions, runAsUser: { value: 1n } })),
        /run_as_user is 1, and the pod's user namespace has only the ids below 1/,
      );
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, script("true", { supplementalGroups: [70_000n] })),
        /group 70000/,
      );
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, script("true", { namespaceOptions: { ...own, usernsOptions: one } })),
        /userns_options/,
      );
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(
          pod,
          script("true", { namespaceOptions: { ...own, usernsOptions: { mode: NamespaceMode.NODE } } }),
        ),
        /userns_options/,
      );
      await node.removePod(small.id);
    });

    test("it lives through the daemon's death, stops and leaves nothing", async () => {
      const dir = newDir("restart");
      const lasting = await runPod({ pid: NamespaceMode.POD });
      const namespaceOptions = { ...own, pid: NamespaceMode.POD };
      const id = await node.runContainer(
        lasting,
        script(
          "trap 'exit 3' TERM; while :; do sleep 0.1; done",
          { namespaceOptions },
          { mounts: [{ hostPath: dir, containerPath: "/data", ...mappings }] },
        ),
      );
      await node.kill("SIGKILL");
      await node.startAgain();
      assert.match(await node.output(id, "touch /data/x; cat /proc/self/uid_map"), /200000/);
      const second = await node.runContainer(lasting, script("sleep 1000", { namespaceOptions }));
      assert.match(await node.output(second, "cat /proc/self/uid_map"), /200000/);
      await node.stopContainer(id, 10);
      assert.equal((await node.containerStatus(id)).exitCode, 3);
      await node.removePod(lasting.id);
      assert.equal(existsSync(join(node.state, "pods", lasting.id)), false);
    });
  });
}

describe("a recursively read-only mount", { skip }, () => {
  let node: TestNode;
  useNode((shared) => void (node = shared));

  for (const runtime of runtimes) {
    test(`is so with all below it, with ${runtime}`, async () => {
      const dir = join(node.dir, runtime);
      mkdirSync(join(dir, "inner"), { recursive: true });
      chmodSync(dir, 0o777);
      mount({ source: "t", target: join(dir, "inner"), fstype: "tmpfs", data: "mode=777" });
      const pod = await node.runPod({}, runtime);
      const mounts = [
        { hostPath: dir, containerPath: "/plain", readonly: true },
        { hostPath: dir, containerPath: "/recursive", readonly: true, recursiveReadOnly: true },
      ];
      const id = await node.runContainer(pod, { command: ["sleep", "1000"], mounts });
      assert.equal(
        await node.output(
          id,
          "touch /plain/inner/x; ls /recursive/inner; for f in /plain/y /recursive/y /recursive/inner/y; do touch $f 2>&1; done; true",
        ),
        [
          "x",
          ...["/plain/y", "/recursive/y", "/recursive/inner/y"].map((path) => `touch: ${path}: Read-only file system`),
          "",
        ].join("\n"),
      );
      await node.removePod(pod.id);
      unmount(join(dir, "inner"));
      assert.deepEqual(execFileSync("ls", [join(dir, "inner")], { encoding: "utf8" }), "");
    });
  }
});
