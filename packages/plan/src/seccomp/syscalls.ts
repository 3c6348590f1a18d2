/**
 * The system calls of the default profile, by purpose. The table is our own, made from syscalls(2) and the pages that
 * it refers to. It covers all architectures and ABIs: the runtimes skip names that an architecture, or an old
 * libseccomp, does not have.
 */

/** Allowed for everyone: what these can do is limited by file modes, ids, namespaces, cgroups and capabilities. */
export const allowed: Readonly<Record<string, readonly string[]>> = {
  "open files": words(`
    open openat openat2 creat close close_range dup dup2 dup3 pipe pipe2 fcntl fcntl64 ioctl flock umask
    memfd_create memfd_secret name_to_handle_at`),
  "contents of files": words(`
    read write pread64 pwrite64 readv writev preadv preadv2 pwritev pwritev2 lseek _llseek truncate truncate64 ftruncate
    ftruncate64 fallocate fadvise64 fadvise64_64 arm_fadvise64_64 readahead fsync fdatasync sync syncfs sync_file_range
    sync_file_range2 arm_sync_file_range sendfile sendfile64 splice tee vmsplice copy_file_range cachestat`),
  "directories and names": words(`
    chdir fchdir getcwd mkdir mkdirat rmdir getdents getdents64 readdir link linkat symlink symlinkat readlink readlinkat
    rename renameat renameat2 unlink unlinkat mknod mknodat inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
    fanotify_mark`),
  "attributes of files": words(`
    stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 access faccessat
    faccessat2 chmod fchmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchown fchown32 fchownat utime utimes futimesat
    utimensat utimensat_time64 getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr
    llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat file_getattr file_setattr`),
  "waiting for files": words(`
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
    epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime
    timerfd_settime64 timerfd_gettime timerfd_gettime64 timerfd`),
  // The old asynchronous interface, not io_uring.
  "asynchronous input and output": words(
    "io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64",
  ),
  memory: words(`
    brk mmap mmap2 munmap mremap mprotect pkey_alloc pkey_free pkey_mprotect madvise process_madvise process_mrelease mincore
    mlock mlock2 mlockall munlock munlockall msync mseal remap_file_pages membarrier map_shadow_stack`),
  // NUMA policy of the caller's own memory: databases and managed runtimes set it.
  "memory policy": words("get_mempolicy set_mempolicy set_mempolicy_home_node mbind"),
  // clone is handled separately: depending on its flags it makes namespaces.
  processes: words(`
    fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp setpgid getsid setsid
    pidfd_open pidfd_send_signal prctl arch_prctl set_tid_address set_thread_area get_thread_area set_robust_list
    get_robust_list rseq restart_syscall modify_ldt`),
  // Since Linux 4.8 a tracer cannot bypass seccomp; ptrace(2)'s own checks decide whom one can trace.
  "tracing one's own": words("ptrace process_vm_readv process_vm_writev"),
  scheduling: words(`
    sched_yield sched_get_priority_max sched_get_priority_min sched_getaffinity sched_setaffinity sched_getattr sched_setattr
    sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_rr_get_interval sched_rr_get_interval_time64
    getpriority setpriority ioprio_get ioprio_set getcpu`),
  limits: words("getrlimit ugetrlimit setrlimit prlimit64 getrusage times"),
  // These can only take away rights.
  "confining oneself": words(
    "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self capget capset lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
  ),
  ids: words(`
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32 getgroups
    getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid
    setresgid32 setgroups setgroups32 setfsuid setfsuid32 setfsgid setfsgid32`),
  signals: words(`
    kill tkill tgkill signal sigaction sigpending sigprocmask sigsuspend sigreturn sigaltstack rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 pause
    alarm`),
  "threads waiting for each other": words("futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue"),
  // adjtimex can also just read; to set, the kernel requires CAP_SYS_TIME. Since 2.31 glibc uses clock_adjtime for it.
  "time and timers": words(`
    time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep clock_nanosleep_time64
    nanosleep getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 adjtimex clock_adjtime clock_adjtime64`),
  // socket is handled separately, by address family. Older 32-bit programs do all of this with socketcall, whose
  // arguments a filter cannot see.
  network: words(`
    socketpair bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt send sendto sendmsg
    sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 socketcall`),
  "System V and POSIX IPC": words(`
    ipc shmget shmat shmdt shmctl semget semop semctl semtimedop semtimedop_time64 msgget msgsnd msgrcv msgctl mq_open
    mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64`),
  "about the system": words("uname sysinfo getrandom statmount listmount"),
  // The kernel itself puts these into a program that root traces from outside; if they were refused, it would die.
  "trampolines of uprobes": words("uprobe uretprobe"),
  "only on ARM": words("breakpoint cacheflush set_tls get_tls"),
  "only on RISC-V": words("riscv_flush_icache riscv_hwprobe"),
  "only on s390": words("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr s390_guarded_storage s390_sthyi"),
  "only on POWER": words("swapcontext subpage_prot"),
};

/** Allowed for containers with the capability: the kernel requires it too, so refusing would gain nothing. */
export const byCapability: Readonly<Record<string, readonly string[]>> = {
  CAP_BPF: words("bpf"),
  CAP_DAC_READ_SEARCH: words("open_by_handle_at"),
  CAP_PERFMON: words("perf_event_open"),
  CAP_SYS_ADMIN: words(`
    mount umount umount2 mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick pivot_root unshare
    setns bpf perf_event_open fanotify_init lookup_dcookie quotactl quotactl_fd sethostname setdomainname syslog`),
  CAP_SYS_BOOT: words("reboot"),
  CAP_SYS_CHROOT: words("chroot"),
  CAP_SYS_MODULE: words("init_module finit_module delete_module"),
  CAP_SYS_NICE: words("migrate_pages move_pages"),
  CAP_SYS_PACCT: words("acct"),
  CAP_SYS_PTRACE: words("kcmp pidfd_getfd"),
  CAP_SYS_RAWIO: words("iopl ioperm"),
  CAP_SYS_TIME: words("settimeofday stime clock_settime clock_settime64"),
  CAP_SYS_TTY_CONFIG: words("vhangup"),
  CAP_SYSLOG: words("syslog"),
};

/** Allowed for nobody. Listed so that the answer is "not permitted" and not "no such call". */
export const refused: Readonly<Record<string, readonly string[]>> = {
  // Keyrings have no namespaces: containers could see and fill each other's.
  keyrings: words("add_key keyctl request_key"),
  // Its operations bypass this filter, and it has had many vulnerabilities.
  io_uring: words("io_uring_setup io_uring_enter io_uring_register"),
  // It can stop the kernel in the middle of a copy, which many exploits use.
  "page faults in user space": words("userfaultfd"),
  "another kernel": words("kexec_load kexec_file_load"),
  "swap areas": words("swapon swapoff"),
  "out of use": words("_sysctl create_module get_kernel_syms query_module nfsservctl sysfs uselib ustat vm86 vm86old"),
};

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
