/* System calls for which the C libraries of older distributions have no wrapper. They are called by number, so that an
 * addon built on Debian 12 also loads with the glibc 2.34 of RHEL 9 and the 2.35 of Ubuntu 22.04. */
#ifndef KEELSON_KERNEL_H
#define KEELSON_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* For functions that run in a child made by clone(2), on a stack that is unmapped afterwards: what AddressSanitizer
 * recorded about that stack would then be believed of whatever is mapped there next. */
#define ON_BORROWED_STACK __attribute__((no_sanitize("address")))

/* linux/mount.h cannot be included beside sys/mount.h with glibc 2.36. */
#define K_FSOPEN_CLOEXEC 0x1u
#define K_FSMOUNT_CLOEXEC 0x1u
#define K_FSCONFIG_SET_FLAG 0u
#define K_FSCONFIG_SET_STRING 1u
#define K_FSCONFIG_SET_FD 5u
#define K_FSCONFIG_CMD_CREATE 6u
#define K_FSCONFIG_CMD_RECONFIGURE 7u
#define K_MOVE_MOUNT_F_EMPTY_PATH 0x4u
#define K_MOVE_MOUNT_T_SYMLINKS 0x10u
#define K_OPEN_TREE_CLONE 0x1u
#define K_OPEN_TREE_CLOEXEC ((unsigned)O_CLOEXEC)
#define K_AT_RECURSIVE 0x8000u
#define K_MOUNT_ATTR_RDONLY 0x1u
#define K_MOUNT_ATTR_IDMAP 0x100000u

struct k_mount_attr {
  uint64_t attr_set, attr_clr, propagation, userns_fd;
};

static inline int k_fsopen(const char *fs, unsigned flags) { return (int)syscall(SYS_fsopen, fs, flags); }
static inline int k_fsconfig(int fd, unsigned command, const char *key, const void *value, int aux) {
  return (int)syscall(SYS_fsconfig, fd, command, key, value, aux);
}
static inline int k_fsmount(int fd, unsigned flags, unsigned attributes) {
  return (int)syscall(SYS_fsmount, fd, flags, attributes);
}
static inline int k_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags) {
  return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}
static inline int k_open_tree(int dir, const char *path, unsigned flags) {
  return (int)syscall(SYS_open_tree, dir, path, flags);
}
static inline int k_mount_setattr(int dir, const char *path, unsigned flags, struct k_mount_attr *attributes) {
  return (int)syscall(442 /* mount_setattr on every architecture */, dir, path, flags, attributes,
                      sizeof *attributes);
}

#define K_RESOLVE_NO_XDEV 0x1u
#define K_RESOLVE_NO_MAGICLINKS 0x2u
#define K_RESOLVE_NO_SYMLINKS 0x4u
#define K_RESOLVE_BENEATH 0x8u
#define K_RESOLVE_IN_ROOT 0x10u

struct k_open_how {
  uint64_t flags, mode, resolve;
};

/* While anything is renamed or mounted on the machine, the kernel is not sure that a ".." stays beneath (EAGAIN). Each
 * try takes a microsecond, so that not even somebody who renames without a pause makes all of them fail. */
#define K_OPENAT2_TRIES 100000

static inline int k_openat2(int dir, const char *path, uint64_t flags, uint64_t resolve) {
  struct k_open_how how = {flags, 0, resolve};
  int fd = -1;
  for (int i = 0; i < K_OPENAT2_TRIES; i++) {
    fd = (int)syscall(437 /* openat2 */, dir, path, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return fd;
}

#define K_CLOSE_RANGE_CLOEXEC 0x4u
static inline int k_close_range(unsigned first, unsigned last, unsigned flags) {
  return (int)syscall(436 /* close_range */, first, last, flags);
}

static inline int k_pidfd_open(int pid, unsigned flags) { return (int)syscall(434 /* pidfd_open */, pid, flags); }
static inline int k_pidfd_send_signal(int fd, int signal) {
  return (int)syscall(424 /* pidfd_send_signal */, fd, signal, NULL, 0);
}

#endif
