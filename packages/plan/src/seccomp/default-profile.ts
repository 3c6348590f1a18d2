import type { SeccompArgSpec, SeccompSpec, SyscallSpec } from "@keelson/oci/runtime-spec/seccomp.ts";
import { allowed, byCapability, refused } from "./syscalls.ts";

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** Of each architecture that Node runs on, with the ABIs whose programs its kernel runs too. */
const architectures: Readonly<Record<string, readonly string[]>> = {
  x64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
  ppc64: ["SCMP_ARCH_PPC64LE"],
  riscv64: ["SCMP_ARCH_RISCV64"],
  s390x: ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
};

/**
 * The profile RuntimeDefault for a container with these capabilities (seccomp(2), config-linux.md#seccomp).
 * A call that is refused answers EPERM; one that the table does not know, ENOSYS: programs take that
 * as an older kernel and go on, where EPERM would stop them.
 *
 * @param arch as Node's `process.arch`; for one not known, the profile has that of the runtime only
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

/** clone(2): what makes a namespace. CLONE_NEWTIME is not among the flags that clone can take. */
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
 * A new user namespace gives every capability inside it, and with them the kernel code that is meant
 * for root: only with CAP_SYS_ADMIN. clone3 has its flags in memory, where a filter cannot look:
 * ENOSYS makes libc take clone instead.
 */
function namespaceCalls(arch: string, isAdmin: boolean): SyscallSpec[] {
  if (isAdmin) return [allow(["clone", "clone3"])];
  // Only s390 has the stack first (clone(2), "C library/kernel differences").
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
 * Every address family but two: AF_ALG (38) reaches kernel cryptography that programs have in
 * libraries, AF_VSOCK (40) the hypervisor of the host, and has no network namespace.
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

/** personality(2): Linux, 32 bits, UNAME26, both, and the question; not READ_IMPLIES_EXEC or no address randomisation. */
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
