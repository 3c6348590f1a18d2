import assert from "node:assert/strict";
import { test } from "node:test";
import { capabilityNames } from "../capabilities.ts";
import { defaultSeccomp } from "./default-profile.ts";
import { allowed, byCapability, refused } from "./syscalls.ts";

/** What happens to a call whatever its arguments. */
function actionFor(name: string, capabilities: string[], arch = "x64"): string {
  const rule = defaultSeccomp(arch, capabilities).syscalls!.find((s) => s.names.includes(name) && s.args === undefined);
  return rule === undefined ? "default" : rule.action === "SCMP_ACT_ALLOW" ? "allow" : `errno ${rule.errnoRet}`;
}

test("no call is in two tables, and capabilities only allow calls that are not allowed for everyone", () => {
  const everyone = Object.values(allowed).flat();
  assert.equal(new Set(everyone).size, everyone.length);
  for (const name of [...Object.values(byCapability).flat(), ...Object.values(refused).flat()])
    assert.ok(!everyone.includes(name), name);
  for (const name of Object.values(refused).flat()) assert.ok(!Object.values(byCapability).flat().includes(name), name);
  for (const capability of Object.keys(byCapability)) assert.ok(capabilityNames.includes(capability), capability);
  for (const apart of ["clone", "clone3", "socket", "personality"]) assert.ok(!everyone.includes(apart), apart);
});

test("no call is both allowed and refused regardless of its arguments", () => {
  for (const capabilities of [[], ["CAP_SYS_ADMIN"], ["CAP_BPF"], [...capabilityNames]]) {
    const names = defaultSeccomp("x64", capabilities)
      .syscalls!.filter((s) => s.args === undefined)
      .flatMap((s) => s.names);
    assert.equal(new Set(names).size, names.length);
  }
});

test("refused calls return EPERM, calls that are not in the table ENOSYS", () => {
  for (const name of [
    "mount",
    "unshare",
    "setns",
    "bpf",
    "keyctl",
    "io_uring_setup",
    "userfaultfd",
    "kexec_load",
    "reboot",
    "clock_settime",
    "init_module",
    "swapon",
  ])
    assert.equal(actionFor(name, []), "errno 1", name);
  assert.equal(actionFor("of_the_future", []), "default");
  assert.equal(defaultSeccomp("x64", []).defaultErrnoRet, 38);
  assert.equal(actionFor("clone3", []), "errno 38");
});

test("capabilities allow further calls", () => {
  assert.equal(actionFor("mount", ["CAP_SYS_ADMIN"]), "allow");
  assert.equal(actionFor("clone3", ["CAP_SYS_ADMIN"]), "allow");
  assert.equal(actionFor("bpf", ["CAP_BPF"]), "allow");
  assert.equal(actionFor("clock_settime", ["CAP_SYS_TIME"]), "allow");
  assert.equal(actionFor("kexec_load", [...capabilityNames]), "errno 1");
});

test("architectures are listed with their older ABIs; an unknown one is left to the runtime", () => {
  assert.deepEqual(defaultSeccomp("x64", []).architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
  assert.deepEqual(defaultSeccomp("arm64", []).architectures, ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
  assert.equal(defaultSeccomp("loong64", []).architectures, undefined);
  assert.ok(
    defaultSeccomp("s390x", [])
      .syscalls!.filter((s) => s.names.includes("clone"))
      .every((s) => s.args?.[0]?.index === 1),
  );
});
