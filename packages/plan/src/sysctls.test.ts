import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { isOfInterface, planSysctls as planWith, type SysctlPlan } from "./sysctls.ts";

const on = { unprivilegedPorts: true, unprivilegedPing: true };
const planSysctls = (
  asked: Record<string, string>,
  own: { network: boolean; ipc: boolean },
  policy = on,
): SysctlPlan[] => planWith(asked, own, policy);

const own = { network: true, ipc: true };

test("unprivileged ports and ping are on in a pod's own network, unless the pod says otherwise", () => {
  assert.deepEqual(
    planSysctls({}, own).map((s) => `${s.name}=${s.value}`),
    ["net.ipv4.ip_unprivileged_port_start=0", "net.ipv4.ping_group_range=0 2147483647"],
  );
  assert.deepEqual(planSysctls({}, { network: false, ipc: true }), []);
  assert.equal(
    planSysctls({ "net/ipv4/ip_unprivileged_port_start": "1024" }, own).find((s) => s.name.includes("port_start"))
      ?.value,
    "1024",
  );
});

test("the configuration can turn each of them off", () => {
  assert.deepEqual(
    planSysctls({}, own, { unprivilegedPorts: false, unprivilegedPing: true }).map((s) => s.name),
    ["net.ipv4.ping_group_range"],
  );
  assert.deepEqual(
    planSysctls({}, own, { unprivilegedPorts: true, unprivilegedPing: false }).map((s) => s.name),
    ["net.ipv4.ip_unprivileged_port_start"],
  );
});

test("each sysctl is written in its own namespace", () => {
  const plan = planSysctls(
    { "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "100", "net/ipv4/conf/eth0.1/forwarding": "1" },
    own,
  );
  assert.deepEqual(
    plan.find((s) => s.name === "fs.mqueue.msg_max"),
    { name: "fs.mqueue.msg_max", file: "fs/mqueue/msg_max", value: "100", namespace: "ipc" },
  );
  assert.equal(plan.find((s) => s.file === "net/ipv4/conf/eth0.1/forwarding")?.namespace, "network");
});

test("a setting of the host's namespace or of the whole machine is refused", () => {
  assert.throws(() => planSysctls({ "net.core.somaxconn": "1" }, { network: false, ipc: true }), {
    code: Code.InvalidArgument,
    message: /net\.core\.somaxconn.*network/,
  });
  assert.throws(() => planSysctls({ "kernel.sem": "1" }, { network: true, ipc: false }), {
    code: Code.InvalidArgument,
    message: /kernel\.sem.*ipc/,
  });
  for (const name of ["vm.swappiness", "kernel.core_pattern", "kernel.hostname", "fs.file-max", "kernel.shmfoo"])
    assert.throws(() => planSysctls({ [name]: "1" }, own), { code: Code.InvalidArgument });
});

test("names that lead elsewhere and values with several lines are refused", () => {
  for (const name of [
    "",
    "net",
    "net..x",
    "net/../kernel/core_pattern",
    "/net/x",
    "net.ipv4.",
    "net.a b",
    "net\n.x",
    "net/ipv4/..",
    ".net.x",
  ]) {
    assert.throws(
      () => planSysctls({ [name]: "1" }, own),
      { code: Code.InvalidArgument, message: /^linux\.sysctls/ },
      name,
    );
  }
  for (const value of ["", "1\n2", "1\0", "x".repeat(5000)])
    assert.throws(() => planSysctls({ "net.core.somaxconn": value }, own), { code: Code.InvalidArgument });
});

test("those of one interface are told from the rest: they exist once the network is attached", () => {
  const isOf = (name: string) => planSysctls({ [name]: "1" }, own).filter(isOfInterface).length === 1;
  for (const name of [
    "net.ipv4.conf.eth0.rp_filter",
    "net.ipv6.neigh.net1.gc_stale_time",
    "net/ipv4/conf/eth0.100/rp_filter",
    "net.mpls.conf.eth0.input",
  ])
    assert.ok(isOf(name), name);
  for (const name of [
    "net.ipv4.conf.all.rp_filter",
    "net.ipv6.conf.default.forwarding",
    "net.ipv4.conf.lo.rp_filter",
    "net.core.somaxconn",
    "kernel.msgmax",
  ])
    assert.ok(!isOf(name), name);
});
