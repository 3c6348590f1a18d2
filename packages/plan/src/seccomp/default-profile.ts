import type { SeccompArgSpec, SeccompSpec, SyscallSpec } from "@keelson/oci/runtime-spec/seccomp.ts";
import { allowed, byCapability, refused } from "./syscalls.ts";

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** For each architecture that Node runs on, the ABIs whose programs its kernel can run. */
const architectures: Readonly<Record<string, readonly string[]>> = {
  x64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
  ppc64: ["SCMP_ARCH_PPC64LE"],
  riscv64: ["SCMP_ARCH_RISCV64"],
  s390x: ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
};

/**
 * The profile behind RuntimeDefault for a container with these capabilities (seccomp(2), config-linux.md#seccomp). A
 * call that is refused returns EPERM. One that is not in the table returns ENOSYS: programs then assume an older kernel
 * and go on, where EPERM would stop them.
 *
 * @param arch Node's `process.arch`; for an unknown one the profile covers only the runtime's own architecture
 * @param capabilities with the prefix `CAP_`
 */
export function defaultSeccomp(arch: string, capabilities: readonly string[]): SeccompSpec {
  const given = new Set(capabilities.flatMap((capability) => byCapability[capability] ?? []));
  const withheld = Object.values(byCapability)
    .flat()
    .filter((name) => !given.has(name));
  const archs = architectures[arch];
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: ENOSYS,
    ...(archs === undefined ? {} : { architectures: [...archs] }),
    syscalls: [
      allow([...Object.values(allowed).flat(), ...given]),
      refuse([...Object.values(refused).flat(), ...withheld], EPERM),
      ...namespaceCalls(arch, capabilities.includes("CAP_SYS_ADMIN")),
      ...socketCalls(),
      ...personalityCalls(),
    ],
  };
}

/** clone(2): the flags that make namespaces. CLONE_NEWTIME is not one that clone accepts. */
const namespaceFlags = {
  mount: 0x0002_0000,
  cgroup: 0x0200_0000,
  uts: 0x0400_0000,
  ipc: 0x0800_0000,
  user: 0x1000_0000,
  pid: 0x2000_0000,
  network: 0x4000_0000,
};

/**
 * Inside a new user namespace a process has every capability, and so reaches kernel code that is meant for root. So
 * making one needs CAP_SYS_ADMIN. The flags of clone3 are in memory, where a filter cannot see them: ENOSYS makes libc
 * use clone instead.
 */
function namespaceCalls(arch: string, isAdmin: boolean): SyscallSpec[] {
  if (isAdmin) return [allow(["clone", "clone3"])];
  // Only on s390 is the stack the first argument (clone(2), "C library/kernel differences").
  const index = arch === "s390x" ? 1 : 0;
  const bits = Object.values(namespaceFlags);
  const all = bits.reduce((sum, bit) => sum + bit, 0);
  return [
    allow(["clone"], [{ index, value: all, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }]),
    ...bits.map((bit) => refuse(["clone"], EPERM, [{ index, value: bit, valueTwo: bit, op: "SCMP_CMP_MASKED_EQ" }])),
    refuse(["clone3"], ENOSYS),
  ];
}

/**
 * Every address family except two: AF_ALG (38) gives access to kernel cryptography, for which programs have libraries;
 * AF_VSOCK (40) to the host's hypervisor, and it has no network namespaces.
 */
function socketCalls(): SyscallSpec[] {
  return [
    allow(["socket"], [{ index: 0, value: 38, op: "SCMP_CMP_LT" }]),
    refuse(["socket"], EAFNOSUPPORT, [{ index: 0, value: 38, op: "SCMP_CMP_EQ" }]),
    allow(["socket"], [{ index: 0, value: 39, op: "SCMP_CMP_EQ" }]),
    refuse(["socket"], EAFNOSUPPORT, [{ index: 0, value: 40, op: "SCMP_CMP_EQ" }]),
    allow(["socket"], [{ index: 0, value: 40, op: "SCMP_CMP_GT" }]),
  ];
}

/**
 * personality(2): Linux, 32 bits, UNAME26, both, and the query; neither READ_IMPLIES_EXEC nor a way to turn off address
 * randomisation.
 */
function personalityCalls(): SyscallSpec[] {
  return [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff].map((value) =>
    allow(["personality"], [{ index: 0, value, op: "SCMP_CMP_EQ" }]),
  );
}

function allow(names: readonly string[], args?: SeccompArgSpec[]): SyscallSpec {
  return { names: sortedOnce(names), action: "SCMP_ACT_ALLOW", ...(args === undefined ? {} : { args }) };
}

function refuse(names: readonly string[], errnoRet: number, args?: SeccompArgSpec[]): SyscallSpec {
  return { names: sortedOnce(names), action: "SCMP_ACT_ERRNO", errnoRet, ...(args === undefined ? {} : { args }) };
}

function sortedOnce(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}
