import assert from "node:assert/strict";
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { bindSource } from "./bind-source.ts";
import { bindMount, mount, mountsUnder, unmount } from "./mount.ts";
import {
  createNamespaces,
  createNamespacesAsync,
  hostIdOf,
  namespaceId,
  type NamespaceOptions,
  unpinNamespace,
} from "./namespace.ts";
import { mountOverlay } from "./overlay.ts";
import { readProcesses } from "./procfs.ts";
import { run } from "./run.ts";
import { ownMounts } from "./testing/host-mounts.ts";

const base = ownMounts(import.meta.url);
const signal = AbortSignal.timeout(60_000);
if (base !== undefined) {
  const dir = (name: string): string => {
    mkdirSync(join(base, name), { recursive: true });
    return join(base, name);
  };
  const pins = { net: join(base, "net"), ipc: join(base, "ipc"), uts: join(base, "uts") };
  const user = (hostId = 100_000, length = 65_536) => ({
    pin: join(base, "user"),
    uids: [{ containerId: 0, hostId, length }],
    gids: [{ containerId: 0, hostId: hostId + 1, length }],
  });
  const unpinAll = (): void => [...Object.values(pins), join(base, "user")].forEach(unpinNamespace);
  afterEach(unpinAll);
  /** Runs `sh -c` as root of the pinned user namespace, in the namespaces that it owns; returns its output. */
  const inside = async (script: string): Promise<string> => {
    const namespaces = [
      `--user=${join(base, "user")}`,
      ...["net", "ipc", "uts"].map((kind) => `--${kind}=${join(base, kind)}`),
    ];
    const { stdout, stderr } = await run({
      file: "nsenter",
      args: [...namespaces, "-S", "0", "-G", "0", "sh", "-c", script],
    });
    return `${stdout.toString()}${stderr.toString()}`;
  };
  const ownerOf = (path: string) => [statSync(path).uid, statSync(path).gid];
  const children = () =>
    readProcesses()
      .filter((p) => p.parentPid === process.pid)
      .map((p) => p.pid);

  test("namespaces belong to the user namespace created with them, and its root has its capabilities over them", async () => {
    createNamespaces({
      ...pins,
      user: user(),
      hostname: "pod-1",
      loopbackUp: true,
      sysctls: { "net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "99" },
    });
    assert.match(
      await inside("cat /proc/self/uid_map /proc/self/gid_map"),
      /^\s*0\s+100000\s+65536\n\s*0\s+100001\s+65536\n$/,
    );
    assert.equal(
      await inside(
        "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max",
      ),
      "pod-1\n0\n1\n99\n",
    );
    assert.equal(
      await inside(
        "hostname changed; ip link set lo down; echo 5 > /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname; ip -o link show lo | cut -d' ' -f3; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
      ),
      "changed\n<LOOPBACK>\n5\n",
    );
    unpinAll();
    assert.deepEqual(readdirSync(base), []);
    assert.deepEqual(children(), []);
  });

  const failures: [string, () => NamespaceOptions, object][] = [
    ["map of nothing", () => ({ ...pins, user: user(1, 0) }), { stage: "uid_map", code: "EINVAL" }],
    ["map of gids", () => ({ ...pins, user: { ...user(), gids: [] } }), { stage: "gid_map", code: "EINVAL" }],
    [
      "user pin",
      () => ({ ...pins, user: { ...user(), pin: join(base, "none/user") } }),
      { stage: "pin", code: "ENOENT" },
    ],
    ["last pin", () => ({ ...pins, user: user(), uts: join(base, "none/uts") }), { stage: "pin", code: "ENOENT" }],
    ["hostname", () => ({ ...pins, user: user(), hostname: "x".repeat(65) }), { stage: "hostname", code: "EINVAL" }],
    [
      "sysctl",
      () => ({ ...pins, user: user(), sysctls: { "net.ipv4.nonsense": "1" } }),
      { stage: "sysctl", code: "ENOENT" },
    ],
  ];
  for (const [name, options, expected] of failures) {
    test(`a failure at the ${name} leaves neither pin nor process`, async () => {
      const fds = readdirSync("/proc/self/fd").length;
      assert.throws(() => createNamespaces(options()), expected);
      await assert.rejects(createNamespacesAsync(options()), expected);
      assert.deepEqual(readdirSync(base), []);
      assert.deepEqual(mountsUnder(base), []);
      assert.deepEqual(children(), []);
      assert.equal(readdirSync("/proc/self/fd").length, fds);
    });
  }

  test("a hundred at once are all different, and this process stays in its own", async () => {
    const own = namespaceId("/proc/self/ns/user");
    const all = Array.from({ length: 100 }, (_, i) => join(base, `user${i}`));
    await Promise.all(all.map((pin) => createNamespacesAsync({ user: { ...user(), pin } })));
    assert.equal(new Set(all.map(namespaceId)).size, 100);
    for (const thread of readdirSync("/proc/self/task"))
      assert.equal(namespaceId(`/proc/self/task/${thread}/ns/user`), own);
    assert.deepEqual(children(), []);
    all.forEach(unpinNamespace);
  });

  test("an id is mapped by the line that contains it", () => {
    const lines = [
      { containerId: 0, hostId: 1000, length: 10 },
      { containerId: 20, hostId: 5, length: 1 },
    ];
    assert.deepEqual(
      [0, 9, 10, 20, 21].map((id) => hostIdOf(id, lines)),
      [1000, 1009, undefined, 5, undefined],
    );
  });

  test("an idmapped bind mount shows the owners of a user namespace, both ways, and changes nothing on disk", () => {
    createNamespaces({ user: user() });
    const source = dir("source");
    const target = dir("target");
    writeFileSync(join(source, "of-root"), "");
    writeFileSync(join(source, "of-7"), "");
    chownSync(join(source, "of-7"), 7, 8);
    bindMount(source, target, { idmap: join(base, "user") });
    assert.deepEqual(
      [ownerOf(join(target, "of-root")), ownerOf(join(target, "of-7"))],
      [
        [100_000, 100_001],
        [100_007, 100_009],
      ],
    );
    chownSync(join(target, "of-root"), 100_042, 100_044);
    assert.deepEqual(ownerOf(join(source, "of-root")), [42, 43]);
    // A user that is not mapped can leave nothing there.
    assert.throws(() => writeFileSync(join(target, "new"), ""), { code: "EOVERFLOW" });
    assert.deepEqual(ownerOf(join(source, "of-7")), [7, 8]);
    unmount(target);
    bindMount(join(source, "of-7"), join(source, "of-root"), { idmap: join(base, "user") });
    assert.deepEqual(ownerOf(join(source, "of-root")), [100_007, 100_009]);
    unmount(join(source, "of-root"));
  });

  test("when mounts below are included, all are mapped or none is", async () => {
    createNamespaces({ user: user() });
    const source = dir("deep");
    const target = dir("deep-target");
    mount({ source: "t", target: dir("deep/tmpfs"), fstype: "tmpfs" });
    bindMount(source, target, {
      recursive: true,
      idmap: join(base, "user"),
      readonly: "recursive",
      propagation: "rprivate",
    });
    assert.deepEqual(ownerOf(join(target, "tmpfs")), [100_000, 100_001]);
    assert.throws(() => writeFileSync(join(target, "tmpfs/x"), ""), { code: "EROFS" });
    unmount(target, { detach: true });
    mount({ source: "p", target: dir("deep/proc"), fstype: "proc" });
    assert.throws(() => bindMount(source, target, { recursive: true, idmap: join(base, "user") }), {
      stage: "idmap",
      code: "EINVAL",
    });
    await assert.rejects(bindSource(source, target, { recursive: true, idmap: join(base, "user") }, signal), {
      stage: "idmap",
      code: "EINVAL",
    });
    await bindSource(source, target, { idmap: join(base, "user"), readonly: true, propagation: "private" }, signal);
    assert.deepEqual(ownerOf(target), [100_000, 100_001]);
    unmount(target);
    assert.throws(() => bindMount(join(source, "proc"), target, { recursive: true, idmap: join(base, "user") }), {
      stage: "idmap",
      code: "EINVAL",
    });
    assert.throws(() => bindMount(source, target, { idmap: join(base, "user"), oldCalls: true }), {
      stage: "idmap",
      code: "ENOSYS",
    });
    assert.throws(() => bindMount(source, target, { idmap: "/proc/self/ns/user" }), { stage: "idmap", code: "EPERM" });
    assert.throws(() => bindMount(source, target, { idmap: join(base, "none") }), { code: "ENOENT" });
    assert.deepEqual(mountsUnder(target), []);
    unmount(join(source, "proc"));
    unmount(join(source, "tmpfs"));
  });

  test("an overlay of idmapped layers shows and copies up mapped owners, and outlives the mount that maps", () => {
    createNamespaces({ user: user() });
    for (const name of ["layers/a/diff", "layers/b/diff", "mapped", "upper", "work", "merged"]) dir(name);
    writeFileSync(join(base, "layers/a/diff/f"), "a");
    writeFileSync(join(base, "layers/b/diff/g"), "b");
    chownSync(join(base, "layers/b/diff/g"), 33, 33);
    bindMount(join(base, "layers"), join(base, "mapped"), { idmap: join(base, "user"), readonly: true });
    mountOverlay({
      lowerDirs: [join(base, "mapped/a/diff"), join(base, "mapped/b/diff")],
      upperDir: join(base, "upper"),
      workDir: join(base, "work"),
      target: join(base, "merged"),
    });
    unmount(join(base, "mapped"));
    unpinAll();
    assert.deepEqual(
      [ownerOf(join(base, "merged/f")), ownerOf(join(base, "merged/g"))],
      [
        [100_000, 100_001],
        [100_033, 100_034],
      ],
    );
    writeFileSync(join(base, "merged/g"), "changed");
    assert.deepEqual(ownerOf(join(base, "upper/g")), [100_033, 100_034]);
    assert.equal(readFileSync(join(base, "layers/b/diff/g"), "utf8"), "b");
    assert.equal(existsSync(join(base, "user")), false);
    unmount(join(base, "merged"));
  });
}
