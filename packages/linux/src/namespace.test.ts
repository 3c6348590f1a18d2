import assert from "node:assert/strict";
import { test } from "node:test";
import { createNamespaces, sysctlPath } from "./namespace.ts";

test("sysctl names become paths as sysctl(8) reads them", () => {
  assert.equal(sysctlPath("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
  assert.equal(sysctlPath("net.ipv4.conf.eth0/1.rp_filter"), "net/ipv4/conf/eth0.1/rp_filter");
  assert.equal(sysctlPath("net/ipv4/conf/eth0.1/rp_filter"), "net/ipv4/conf/eth0.1/rp_filter");
  for (const name of ["", "/etc/passwd", "net/../../etc/passwd", "net.//.x", "net/ipv4/", "..", "net..x"])
    assert.throws(() => sysctlPath(name), TypeError, name);
});

test("what would change the host is refused before anything is created", () => {
  const path = "/nonexistent/pin";
  for (const options of [
    { ipc: path, sysctls: { "net.ipv4.ip_forward": "1" } },
    { net: path, sysctls: { "kernel.shmmax": "1" } },
    { net: path, ipc: path, uts: path, sysctls: { "kernel.panic": "1" } },
    { net: path, ipc: path, uts: path, sysctls: { "vm.swappiness": "1" } },
    { net: path, sysctls: { "net/../kernel/panic": "1" } },
    { net: path, hostname: "x" },
    { ipc: path, loopbackUp: true },
  ])
    assert.throws(() => createNamespaces(options), TypeError, JSON.stringify(options));
});
