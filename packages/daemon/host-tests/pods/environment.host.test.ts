// What the containers of a pod share: names, network, namespaces, cgroup.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { hostname } from "node:os";
import { after, before, describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  type DeepPartial,
  NamespaceMode,
  type PodSandboxConfig,
  Protocol,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, testFor } from "../testing/each-runtime.ts";
import { hostAddress, type Pod, rejectsWith, runtimes, TestNode } from "../testing/test-node.ts";

const { POD, CONTAINER, NODE, TARGET } = NamespaceMode;
const namespaces = (options: {
  pid?: NamespaceMode;
  network?: NamespaceMode;
  ipc?: NamespaceMode;
  targetId?: string;
}) => ({ securityContext: { namespaceOptions: { pid: CONTAINER, ...options } } });

/** What a server on a port of this machine says. */
function read(address: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ host: address, port, timeout: 2000 });
    socket
      .setEncoding("utf8")
      .on("data", (chunk: string) => (text += chunk))
      .on("end", () => resolve(text));
    socket.on("error", reject).on("timeout", () => reject(new Error("timeout")));
  });
}

const untilRead = (address: string, port: number) =>
  waitFor(() => read(address, port).catch(() => undefined), { message: `${address}:${port} does not answer` });

describe("a pod", { skip, concurrency: 3 }, () => {
  let node: TestNode;
  before(async () => {
    node = await TestNode.start();
  });
  after(() => node[Symbol.asyncDispose]());

  /** A pod for one test, and containers in it that may need the same namespaces spelled out. */
  const inPod = async (overrides: DeepPartial<PodSandboxConfig>, body: (pod: Pod) => Promise<void>, runtime = "") => {
    const pod = await node.runPod(overrides, runtime);
    await body(pod);
    await node.removePod(pod.id);
  };
  const script = (text: string, linux: DeepPartial<ContainerConfig["linux"]> = {}): DeepPartial<ContainerConfig> => ({
    command: ["sh", "-c", text],
    linux,
  });

  for (const runtime of eachRuntime) {
    const test = testFor(runtime);
    test(`has its hostname, hosts file and resolver settings with ${runtime}`, async () => {
      const dnsConfig = {
        servers: ["10.10.10.10", "fd00::1"],
        searches: ["google.com", "svc.cluster.local"],
        options: ["ndots:8"],
      };
      await inPod(
        { hostname: "web-0.example", dnsConfig },
        async (pod) => {
          const { ip } = (await node.podStatus(pod.id)).network!;
          const id = await node.runContainer(pod, "sleep 600");
          assert.equal(
            await node.output(id, "hostname; cat /etc/hostname; echo $HOSTNAME"),
            "web-0.example\nweb-0.example\nweb-0.example\n",
          );
          assert.equal(
            await node.output(id, "cat /etc/resolv.conf"),
            "search google.com svc.cluster.local\nnameserver 10.10.10.10\nnameserver fd00::1\noptions ndots:8\n",
          );
          const hosts = await node.output(id, "cat /etc/hosts");
          assert.match(hosts, /^127\.0\.0\.1\tlocalhost$/m);
          assert.match(hosts, new RegExp(`^${ip}\tweb-0\\.example web-0$`, "m"));
          assert.match(await node.output(id, "ip -o addr show eth0"), new RegExp(`inet ${ip}/16`));
          assert.match(await node.output(id, "ip -o addr show lo"), /inet 127\.0\.0\.1\/8/);
          await node.output(id, `ping -c 1 -W 2 ${hostAddress}`);
        },
        runtime,
      );
    });

    test(`has a bounded file system for the files of its own that a container may write, with ${runtime}`, async () => {
      await inPod(
        {},
        async (pod) => {
          const noCapabilities = { securityContext: { capabilities: { dropCapabilities: ["ALL"] } } };
          const id = await node.runContainer(pod, script("sleep 600", noCapabilities));
          const fill = "for f in hosts hostname resolv.conf; do head -c 8388608 /dev/zero >>/etc/$f; done";
          assert.notEqual((await node.exec(id, fill)).exitCode, 0);
          const dir = `${node.state}/pods/${pod.id}/etc`;
          const bytes = readdirSync(dir).reduce((sum, name) => sum + statSync(`${dir}/${name}`).size, 0);
          assert.ok(bytes > 512 * 1024 && bytes < 2 * 1024 * 1024, `${bytes} bytes`);
          // Only the files are full: the pod takes containers and commands as before.
          assert.equal(await node.output(await node.runContainer(pod, "sleep 600"), "echo well >/dev/shm/x"), "");
        },
        runtime,
      );
    });

    test(`has a /dev/shm of 64 MiB that its containers share, with ${runtime}`, async () => {
      await inPod(
        {},
        async (pod) => {
          const one = await node.runContainer(pod, "sleep 600");
          const two = await node.runContainer(pod, "sleep 600");
          const options = (await node.output(one, "grep ' /dev/shm ' /proc/mounts")).split(" ");
          assert.deepEqual(
            [options[2], ["nosuid", "nodev", "noexec", "rw"].filter((o) => !options[3]!.split(",").includes(o))],
            ["tmpfs", []],
          );
          assert.match(await node.output(one, "df -k /dev/shm | tail -1"), /\b65536\b/);
          assert.match(await node.output(one, "stat -c %a /dev/shm"), /^1777/);
          await node.output(one, "echo shared >/dev/shm/note");
          assert.equal(await node.output(two, "cat /dev/shm/note"), "shared\n");
        },
        runtime,
      );
    });

    test(`shares its network, IPC and UTS namespaces, and gives each container a PID namespace, with ${runtime}`, async () => {
      await inPod(
        {},
        async (pod) => {
          const ids = [
            await node.runContainer(pod, { command: ["sleep", "600"] }),
            await node.runContainer(pod, { command: ["sleep", "600"] }),
          ];
          const pids = await Promise.all(ids.map(async (id) => (await node.containerInfo(id)).pid));
          const of = (name: string) => [...pids, "self"].map((pid) => readlinkSync(`/proc/${pid}/ns/${name}`));
          for (const name of ["net", "ipc", "uts"]) {
            const [one, two, host] = of(name);
            assert.equal(one, two, name);
            assert.notEqual(one, host, name);
          }
          for (const name of ["pid", "mnt"]) assert.equal(new Set(of(name)).size, 3, name);
          assert.equal((await node.output(ids[0]!, "cat /proc/1/cmdline")).split("\0")[0], "sleep");
          await node.runContainer(pod, "nc -l -p 8000 -e echo from the other");
          await waitFor(async () =>
            (await node.exec(ids[0]!, "nc 127.0.0.1 8000 </dev/null")).stdout.includes("from the other"),
          );
        },
        runtime,
      );
    });

    test(`that shares its PID namespace shows the processes of all containers to each, and reaps, with ${runtime}`, async () => {
      const linux = namespaces({ pid: POD });
      await inPod(
        { linux },
        async (pod) => {
          const one = await node.runContainer(pod, { command: ["sleep", "1001"], linux });
          const two = await node.runContainer(pod, { command: ["sleep", "1002"], linux });
          for (const id of [one, two]) {
            const list = await node.output(id, "ps");
            assert.match(list, /sleep 1001/);
            assert.match(list, /sleep 1002/);
          }
          assert.doesNotMatch(
            await node.output(one, "tr '\\0' ' ' </proc/1/cmdline"),
            /sleep/,
            "process 1 is the pod's own",
          );
          await node.output(one, "sh -c 'sleep 0.1 & sleep 0.1 &'; sh -c 'true & true &'");
          await waitFor(async () => !(await node.output(two, "cat /proc/[0-9]*/stat 2>/dev/null")).includes(") Z "), {
            message: "a zombie is not reaped",
          });
          assert.equal((await node.exec(one, "kill -9 1; sleep 0.1")).exitCode, 0, "nobody inside can kill process 1");
          await node.stopContainer(one, 0);
          assert.doesNotMatch(await node.output(two, "ps"), /sleep 1001/);
          await node.removeContainer(one);
          const three = await node.runContainer(pod, { command: ["sleep", "1003"], linux });
          assert.match(await node.output(three, "ps"), /sleep 1002/);
          // One container of the pod may have its own.
          const alone = await node.runContainer(pod, {
            command: ["sleep", "1004"],
            linux: namespaces({ pid: CONTAINER }),
          });
          assert.doesNotMatch(await node.output(alone, "ps"), /sleep 100[123]/);
          // And another one that of its neighbour.
          const debug = await node.runContainer(pod, {
            command: ["sleep", "1005"],
            linux: namespaces({ pid: TARGET, targetId: alone }),
          });
          assert.match(await node.output(debug, "ps"), /sleep 1004/);
          assert.doesNotMatch(await node.output(debug, "ps"), /sleep 100[123]/);
        },
        runtime,
      );
    });

    test(`in the namespaces of the host sees the host, with ${runtime}`, async () => {
      const linux = namespaces({ pid: NODE, network: NODE, ipc: NODE });
      await inPod(
        { linux },
        async (pod) => {
          assert.deepEqual((await node.podStatus(pod.id)).network, { ip: "", additionalIps: [] });
          const id = await node.runContainer(pod, { command: ["sleep", "600"], linux });
          const { pid } = await node.containerInfo(id);
          for (const name of ["pid", "net", "ipc", "uts"])
            assert.equal(readlinkSync(`/proc/${pid}/ns/${name}`), readlinkSync(`/proc/self/ns/${name}`), name);
          assert.equal((await node.output(id, "hostname")).trim(), hostname());
          assert.match(await node.output(id, "ps"), new RegExp(`\\b${process.pid}\\b`));
          assert.match(await node.output(id, "ip -o link"), /uplink0/);
          assert.equal(await node.output(id, "cat /etc/hosts"), readFileSync("/etc/hosts", "utf8"));
          assert.match(readFileSync(`/proc/${pid}/mountinfo`, "utf8"), / \/dev\/shm /);
          const made = execFileSync("ipcmk", ["-M", "4096"], { encoding: "utf8" });
          const shm = /: (\d+)/.exec(made)![1]!;
          assert.match(await node.output(id, "cat /proc/sysvipc/shm"), new RegExp(`^\\s*\\S+\\s+${shm}\\s`, "m"));
          execFileSync("ipcrm", ["-m", shm]);
        },
        runtime,
      );
    });
  }

  test("without resolver settings has those of the host", async () => {
    await inPod({}, async (pod) => {
      const expected = existsSync("/etc/resolv.conf") ? readFileSync("/etc/resolv.conf", "utf8").trimEnd() : "";
      assert.equal(await node.outputOf(pod, "cat /etc/resolv.conf"), expected);
    });
  });

  test("has its sysctls, and leaves those of the host alone", async () => {
    const sysctls = {
      "kernel.shm_rmid_forced": "1",
      "fs.mqueue.msg_max": "100",
      "net.core.somaxconn": "777",
      "kernel/msgmax": "9000",
    };
    const somaxconn = readFileSync("/proc/sys/net/core/somaxconn", "utf8");
    await inPod({ linux: { sysctls, ...namespaces({}) } }, async (pod) => {
      assert.equal(
        await node.outputOf(
          pod,
          "cd /proc/sys; cat kernel/shm_rmid_forced fs/mqueue/msg_max net/core/somaxconn kernel/msgmax net/ipv4/ip_unprivileged_port_start",
        ),
        "1\n100\n777\n9000\n0",
      );
    });
    assert.equal(readFileSync("/proc/sys/net/core/somaxconn", "utf8"), somaxconn);
    await rejectsWith(
      Code.InvalidArgument,
      node.runPod({ linux: { sysctls: { "net.core.somaxconn": "1" }, ...namespaces({ network: NODE }) } }),
      /somaxconn/,
    );
    await rejectsWith(
      Code.InvalidArgument,
      node.runPod({ linux: { sysctls: { "kernel.shm_rmid_forced": "1" }, ...namespaces({ ipc: NODE }) } }),
      /shm_rmid_forced/,
    );
  });

  test("has its sysctls of interfaces, which its network makes; without them nothing is left", async () => {
    const sysctls = { "net.ipv4.conf.eth0.rp_filter": "2", "net.ipv4.conf.all.arp_ignore": "1" };
    await inPod({ linux: { sysctls, ...namespaces({}) } }, async (pod) => {
      const files = "/proc/sys/net/ipv4/conf/eth0/rp_filter /proc/sys/net/ipv4/conf/all/arp_ignore";
      assert.equal(await node.outputOf(pod, `cat ${files}`), "2\n1");
    });
    // That the network is taken down is seen when the node is: nothing may be left of it.
    for (const [name, value, words] of [
      ["net.ipv4.conf.eth7.rp_filter", "1", /linux\.sysctls\[net\.ipv4\.conf\.eth7\.rp_filter\].*no such interface/],
      ["net.ipv4.no_such_setting", "1", /linux\.sysctls\[net\.ipv4\.no_such_setting\].*no such setting/],
      ["net.ipv4.conf.eth0.rp_filter", "many", /linux\.sysctls\[net\.ipv4\.conf\.eth0\.rp_filter\].*refuses the value/],
    ] as const) {
      await rejectsWith(
        Code.InvalidArgument,
        node.runPod({ linux: { sysctls: { [name]: value }, ...namespaces({}) } }),
        words,
      );
    }
  });

  test("can be reached at its host ports, and no longer when it is stopped", async () => {
    const portMappings = [
      { protocol: Protocol.TCP, containerPort: 80, hostPort: 12_080, hostIp: "" },
      { protocol: Protocol.TCP, containerPort: 81, hostPort: 12_081, hostIp: hostAddress },
      { protocol: Protocol.TCP, containerPort: 82, hostPort: 0, hostIp: "" },
    ];
    await inPod({ portMappings }, async (pod) => {
      const { ip } = (await node.podStatus(pod.id)).network!;
      await node.runContainer(pod, "for p in 80 81 82; do while :; do nc -l -p $p -e echo port $p; done & done; wait");
      for (const [address, port] of [
        [ip, 80],
        [ip, 82],
      ] as const)
        assert.equal(await untilRead(address, port), `port ${port}\n`);
      assert.equal(await untilRead(hostAddress, 12_080), "port 80\n");
      assert.equal(await untilRead("127.0.0.1", 12_080), "port 80\n");
      assert.equal(await untilRead(hostAddress, 12_081), "port 81\n");
    });
    await assert.rejects(read(hostAddress, 12_080));
    await rejectsWith(
      Code.InvalidArgument,
      node.runPod({ portMappings: [{ containerPort: 80, hostPort: 70_000 }] }),
      /port_mappings/,
    );
  });

  test("gets another address than its neighbours, and the addresses come back", async () => {
    const pods = await Promise.all(Array.from({ length: 5 }, () => node.runPod()));
    const ips = await Promise.all(pods.map(async (pod) => (await node.podStatus(pod.id)).network!.ip));
    assert.equal(new Set(ips).size, 5);
    await Promise.all(pods.map((pod) => node.removePod(pod.id)));
    assert.deepEqual(
      readdirSync("/var/lib/cni/networks/keel").filter((name) => ips.includes(name)),
      [],
    );
  });

  for (const [spelling, cgroupParent, path] of [
    ["a path", "/kubepods/burstable/podabc", "/kubepods/burstable/podabc"],
    [
      "a slice",
      "kubepods-besteffort-podabc.slice",
      "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podabc.slice",
    ],
    ["a slice as a path", "/test.slice", "/test.slice"],
    ["nothing", "", undefined],
  ] as const) {
    test(`puts its containers where cgroup_parent says: ${spelling}`, async () => {
      for (const runtime of runtimes) {
        await inPod(
          { linux: { cgroupParent, ...namespaces({ pid: POD }) } },
          async (pod) => {
            const id = await node.runContainer(pod, {
              ...script("sleep 600", namespaces({ pid: POD })),
              linux: {
                ...namespaces({ pid: POD }),
                resources: { memoryLimitInBytes: 64n << 20n, cpuShares: 512n, cpuQuota: 20_000n, cpuPeriod: 100_000n },
              },
            });
            const { pid, cgroup } = await node.containerInfo(id);
            if (path !== undefined) assert.equal(cgroup, `${path}/${id}`);
            const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8")
              .trim()
              .split("\n")
              .map((line) => line.split(":"));
            for (const name of ["memory", "cpu", "pids", "freezer"]) {
              assert.equal(lines.find(([, controllers]) => controllers!.split(",").includes(name))?.[2], cgroup, name);
            }
            const value = (controller: string, file: string) =>
              readFileSync(`/sys/fs/cgroup/${controller}${cgroup}/${file}`, "utf8").trim();
            assert.equal(value("memory", "memory.limit_in_bytes"), String(64 << 20));
            assert.deepEqual(
              ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"].map((file) => value("cpu", file)),
              ["512", "20000", "100000"],
            );
            await node.removeContainer(id);
            assert.ok(!existsSync(`/sys/fs/cgroup/memory${cgroup}`));
          },
          runtime,
        );
      }
      // What a kubelet made is a kubelet's to remove; the runtimes make the parents that are not there.
      if (path !== undefined) removeCgroups(`/${path.split("/")[1]!}`);
    });
  }

  test("keeps a cgroup that somebody else has made", async () => {
    const cgroupParent = "/somebody/pod1";
    for (const controller of readdirSync("/sys/fs/cgroup"))
      execFileSync("mkdir", ["-p", `/sys/fs/cgroup/${controller}${cgroupParent}`]);
    const mems = "/sys/fs/cgroup/cpuset";
    for (const dir of ["/somebody", cgroupParent]) {
      for (const file of ["cpuset.cpus", "cpuset.mems"])
        if (existsSync(`${mems}${dir}/${file}`))
          writeFileSync(`${mems}${dir}/${file}`, readFileSync(`${mems}/${file}`));
    }
    await inPod({ linux: { cgroupParent, ...namespaces({}) } }, async (pod) => {
      assert.equal(await node.outputOf(pod, "echo in"), "in");
    });
    assert.ok(existsSync(`/sys/fs/cgroup/memory${cgroupParent}`));
    removeCgroups("/somebody");
  });
});

/** Removes a cgroup with all below it from every hierarchy; none of them has a process. */
function removeCgroups(path: string): void {
  for (const controller of readdirSync("/sys/fs/cgroup")) {
    const dir = `/sys/fs/cgroup/${controller}${path}`;
    if (existsSync(dir)) execFileSync("find", [dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
  }
}
