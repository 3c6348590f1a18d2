/** `linux.seccomp` of config.json (config-linux.md#seccomp), with libseccomp's names. */
export interface SeccompSpec {
  defaultAction: SeccompAction;
  /** Only with SCMP_ACT_ERRNO and SCMP_ACT_TRACE: the errno to return; default EPERM. */
  defaultErrnoRet?: number;
  architectures?: string[];
  flags?: string[];
  listenerPath?: string;
  listenerMetadata?: string;
  syscalls?: SyscallSpec[];
}

export type SeccompAction =
  | "SCMP_ACT_KILL"
  | "SCMP_ACT_KILL_PROCESS"
  | "SCMP_ACT_KILL_THREAD"
  | "SCMP_ACT_TRAP"
  | "SCMP_ACT_ERRNO"
  | "SCMP_ACT_TRACE"
  | "SCMP_ACT_ALLOW"
  | "SCMP_ACT_LOG"
  | "SCMP_ACT_NOTIFY";

export interface SyscallSpec {
  names: string[];
  action: SeccompAction;
  errnoRet?: number;
  /** All of them must hold. */
  args?: SeccompArgSpec[];
}

export interface SeccompArgSpec {
  /** The index of the call's argument, from 0. */
  index: number;
  value: number;
  /** Only with SCMP_CMP_MASKED_EQ, where `value` is the mask. */
  valueTwo?: number;
  op:
    | "SCMP_CMP_NE"
    | "SCMP_CMP_LT"
    | "SCMP_CMP_LE"
    | "SCMP_CMP_EQ"
    | "SCMP_CMP_GE"
    | "SCMP_CMP_GT"
    | "SCMP_CMP_MASKED_EQ";
}
