/* What makes a process of ours that runs inside a pod's namespaces worthless to the pod: a copy of its program that
 * nobody can change, and a cgroup that may open no device. */
#include "keelson.h"
#include "kernel.h"

#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

static int write_all(int fd, const char *data, size_t length) {
  while (length > 0) {
    ssize_t n = write(fd, data, length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    data += n;
    length -= (size_t)n;
  }
  return 0;
}

/* A memfd that can be executed and never again be changed: memfd_create(2). Without Linux 6.3 its mode still can. */
static int sealed_memfd(const char *name, const char *data, size_t length, const char **call) {
  *call = "memfd_create";
  AUTO_FD fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); /* before Linux 6.3 */
  if (fd < 0) return -1;
  *call = "write";
  if (write_all(fd, data, length) != 0 || fchmod(fd, 0500) != 0) return -1;
  *call = "fcntl";
  int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (fcntl(fd, F_ADD_SEALS, seals | F_SEAL_EXEC) != 0 && (errno != EINVAL || fcntl(fd, F_ADD_SEALS, seals) != 0))
    return -1;
  int sealed = fd;
  fd = -1;
  return sealed;
}

/* Where the machine refuses to execute memfds (vm.memfd_noexec): a file on a read-only file system of its own, which
 * is mounted nowhere. */
static int file_on_readonly(const char *name, const char *data, size_t length, const char **call) {
  *call = "fsopen";
  AUTO_FD context = k_fsopen("tmpfs", K_FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  *call = "fsconfig";
  if (k_fsconfig(context, K_FSCONFIG_SET_STRING, "mode", "0500", 0) != 0 ||
      k_fsconfig(context, K_FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
    return -1;
  *call = "fsmount";
  AUTO_FD mounted = k_fsmount(context, K_FSMOUNT_CLOEXEC, 0);
  if (mounted < 0) return -1;
  *call = "write";
  AUTO_FD writer = openat(mounted, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0500);
  if (writer < 0 || write_all(writer, data, length) != 0) return -1;
  close_fd(&writer);
  writer = -1;
  *call = "fsconfig";
  if (k_fsconfig(context, K_FSCONFIG_SET_FLAG, "ro", NULL, 0) != 0 ||
      k_fsconfig(context, K_FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) != 0)
    return -1;
  *call = "open";
  return openat(mounted, name, O_RDONLY | O_CLOEXEC);
}

/* sealedFile(name, bytes, isMemfd) -> fd */
static napi_value js_sealed_file(napi_env env, napi_callback_info info) {
  napi_value v[3];
  AUTO_STRING name = NULL;
  void *data;
  size_t length;
  bool is_memfd;
  if (!args_read(env, info, 3, v) || !arg_string(env, v[0], "name", &name) ||
      !arg_bytes(env, v[1], "bytes", &data, &length) || !arg_bool(env, v[2], "isMemfd", &is_memfd))
    return NULL;
  const char *call;
  int fd = is_memfd ? sealed_memfd(name, data, length, &call) : file_on_readonly(name, data, length, &call);
  if (fd >= 0) return js_number(env, fd);
  int err = errno;
  return throw_errno(env, err, call, NULL, "make a sealed copy of %s", name);
}

/* denyDevices(dir): by a program that answers no, as the v2 tree has no controller for devices (cgroup-v2.rst). */
static napi_value js_deny_devices(napi_env env, napi_callback_info info) {
  napi_value v[1];
  AUTO_STRING dir = NULL;
  if (!args_read(env, info, 1, v) || !arg_string(env, v[0], "dir", &dir)) return NULL;
  struct bpf_insn answer_no[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
                                 {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr load, attach;
  memset(&load, 0, sizeof load);
  memset(&attach, 0, sizeof attach);
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = (uintptr_t)answer_no;
  load.insn_cnt = sizeof answer_no / sizeof *answer_no;
  load.license = (uintptr_t) "Apache-2.0";
  AUTO_FD cgroup = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  AUTO_FD program = cgroup < 0 ? -1 : (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
  if (program >= 0) {
    attach.target_fd = (uint32_t)cgroup;
    attach.attach_bpf_fd = (uint32_t)program;
    attach.attach_type = BPF_CGROUP_DEVICE;
    attach.attach_flags = BPF_F_ALLOW_MULTI; /* beside what systemd or a parent has */
    if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) == 0) return js_undefined(env);
  }
  int err = errno;
  return throw_errno(env, err, cgroup < 0 ? "open" : "bpf", dir, "deny devices to cgroup %s", dir);
}

void init_sealed(napi_env env, napi_value exports) {
  export_function(env, exports, "sealedFile", js_sealed_file);
  export_function(env, exports, "denyDevices", js_deny_devices);
}
