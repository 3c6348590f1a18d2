import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { mountsUnder } from "./mount.ts";
import {
  createNamespaces,
  createNamespacesAsync,
  namespaceId,
  unpinNamespace,
  unpinNamespaceAsync,
} from "./namespace.ts";
import type { NamespaceOptions } from "./namespace.ts";
import { warmThreadPool } from "./pool.ts";
import { run } from "./run.ts";
import { ownMounts } from "./testing/host-mounts.ts";

const base = ownMounts(import.meta.url);
if (base !== undefined) {
  const pins = { net: join(base, "net"), ipc: join(base, "ipc"), uts: join(base, "uts") };
  const unpinAll = (): void => Object.values(pins).forEach(unpinNamespace);

  const threadNamespaces = (): Set<string> => {
    const all = new Set<string>();
    for (const thread of readdirSync("/proc/self/task")) {
      all.add(
        ["net", "ipc", "uts", "mnt", "user"]
          .map((kind) => readlinkSync(`/proc/self/task/${thread}/ns/${kind}`))
          .join(" "),
      );
    }
    return all;
  };

  test("namespaces are new, set up, and live on without a process", async () => {
    createNamespaces({
      ...pins,
      hostname: "pod-1",
      loopbackUp: true,
      sysctls: {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "kernel.shmmax": "4096",
        "net.ipv4.ping_group_range": "0 0",
      },
    });
    for (const kind of ["net", "ipc", "uts"] as const)
      assert.notEqual(namespaceId(pins[kind]), namespaceId(`/proc/self/ns/${kind}`));
    const inside = await run({
      file: "nsenter",
      args: [
        `--net=${pins.net}`,
        `--ipc=${pins.ipc}`,
        `--uts=${pins.uts}`,
        "sh",
        "-c",
        "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax; ip -o link show lo",
      ],
    });
    assert.match(inside.stdout.toString(), /^pod-1\n0\n4096\n1: lo: <LOOPBACK,UP/);
    assert.notEqual(readFileSync("/proc/sys/kernel/shmmax", "utf8").trim(), "4096");
    assert.notEqual(hostname(), "pod-1");
    unpinAll();
    assert.deepEqual(readdirSync(base), []);
    unpinAll(); // missing is fine
    assert.equal(namespaceId(pins.net), null);
  });

  const failures: [string, NamespaceOptions, object][] = [
    ["hostname", { ...pins, hostname: "x".repeat(65) }, { stage: "hostname", code: "EINVAL", syscall: "sethostname" }],
    [
      "sysctl that is not there",
      { ...pins, sysctls: { "net.ipv4.nonsense": "1" } },
      { stage: "sysctl", code: "ENOENT" },
    ],
    [
      "sysctl value",
      { ...pins, sysctls: { "net.ipv4.ip_forward": "1", "net.ipv4.ip_local_port_range": "garbage" } },
      { stage: "sysctl", code: "EINVAL", path: "/proc/sys/net/ipv4/ip_local_port_range" },
    ],
    ["first pin", { ...pins, net: join(base, "none/net") }, { stage: "pin", code: "ENOENT" }],
    ["second pin", { ...pins, ipc: join(base, "none/ipc") }, { stage: "pin", code: "ENOENT" }],
    ["third pin", { ...pins, uts: join(base, "none/uts") }, { stage: "pin", code: "ENOENT" }],
  ];
  for (const [name, options, expected] of failures) {
    test(`a failure at the ${name} leaves no pin and works when asked again`, async () => {
      assert.throws(() => createNamespaces(options), expected);
      await assert.rejects(createNamespacesAsync(options), expected);
      assert.deepEqual(readdirSync(base), []);
      assert.deepEqual(mountsUnder(base), []);
      createNamespaces(pins);
      unpinAll();
    });
  }

  test("a file in the way stays as it is, and the pins before it are removed", () => {
    writeFileSync(pins.uts, "mine");
    assert.throws(() => createNamespaces(pins), { stage: "pin", code: "EEXIST", path: pins.uts });
    assert.deepEqual(readdirSync(base), ["uts"]);
    assert.equal(readFileSync(pins.uts, "utf8"), "mine");
    unpinNamespace(pins.uts);
  });

  test("no thread of this process changes its namespaces in 200 calls", async () => {
    await warmThreadPool();
    const before = threadNamespaces();
    assert.equal(before.size, 1);
    mkdirSync(join(base, "many"));
    for (let i = 0; i < 100; i++)
      createNamespaces({ net: join(base, "many", `net${i}`), uts: join(base, "many", `uts${i}`), hostname: `h${i}` });
    const ids = new Set(Array.from({ length: 100 }, (_, i) => namespaceId(join(base, "many", `net${i}`))));
    assert.equal(ids.size, 100);
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        createNamespacesAsync({
          ipc: join(base, "many", `ipc${i}`),
          uts: join(base, "many", `u${i}`),
          hostname: "other",
        }),
      ),
    );
    assert.deepEqual(threadNamespaces(), before);
    await Promise.all(readdirSync(join(base, "many")).map((name) => unpinNamespaceAsync(join(base, "many", name))));
    assert.deepEqual(mountsUnder(base), []);
    assert.deepEqual(readdirSync(join(base, "many")), []);
    assert.equal(existsSync(pins.net), false);
  });

  test("no fd is left open", async () => {
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 20; i++) {
      createNamespaces({ ...pins, loopbackUp: true, sysctls: { "net.ipv4.ip_forward": "1" } });
      unpinAll();
      assert.throws(() => createNamespaces({ net: pins.net, sysctls: { "net.ipv4.nonsense": "1" } }));
    }
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(readdirSync("/proc/self/fd").length, before);
  });
}
