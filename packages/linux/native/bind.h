/* Bind mounts by open_tree(2), which nobody sees half done, or before Linux 5.12 by mount(2). What uses this is the addon
 * (mount.c), and the program for sources that may hang (bind-source.c). */
#ifndef KEELSON_BIND_H
#define KEELSON_BIND_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernel.h"

enum readonly { WRITABLE, READONLY, READONLY_RECURSIVE };

struct bind {
  const char *source, *target;
  bool recursive;
  int readonly;
  unsigned long propagation; /* MS_* with MS_REC, or 0 */
  const char *idmap;         /* path of a user namespace whose mappings the mount gets, or NULL */
  bool old_calls;
};

/* The first failure of a bind. Each text is static, but the path, which is one of the bind's. */
struct bind_problem {
  int err; /* 0: none */
  const char *syscall;
  const char *step;  /* what was being done beyond mounting it; "" for that */
  const char *stage; /* "idmap" or NULL */
  const char *path;
};

static inline void bind_failed(struct bind_problem *p, int err, const char *syscall, const char *step,
                               const char *path) {
  if (p->err != 0) return;
  p->err = err;
  p->syscall = syscall;
  p->step = step;
  p->path = path;
}

/* mount_setattr(2): from outside, ids look as they would in the user namespace. Returns false after a failure. */
static inline bool bind_idmap(const struct bind *b, int tree, struct bind_problem *p) {
  int userns = open(b->idmap, O_RDONLY | O_CLOEXEC);
  if (userns < 0) {
    bind_failed(p, errno, "open", "open the user namespace", b->idmap);
    return false;
  }
  struct k_mount_attr attributes = {.attr_set = K_MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns};
  int result = k_mount_setattr(tree, "", AT_EMPTY_PATH | (b->recursive ? K_AT_RECURSIVE : 0), &attributes);
  int err = errno;
  close(userns);
  if (result == 0) return true;
  p->stage = "idmap";
  bind_failed(p, err, "mount_setattr", "map its ids", b->source);
  return false;
}

/* Returns false when this kernel lacks a call. */
static inline bool bind_set(const struct bind *b, int tree, bool recursive, struct k_mount_attr attributes,
                            const char *step, struct bind_problem *p) {
  if (k_mount_setattr(tree, "", AT_EMPTY_PATH | (recursive ? K_AT_RECURSIVE : 0), &attributes) == 0) return true;
  if (errno == ENOSYS) return false;
  bind_failed(p, errno, "mount_setattr", step, b->source);
  return true;
}

static inline bool bind_tree(const struct bind *b, int tree, struct bind_problem *p) {
  if (b->idmap != NULL && !bind_idmap(b, tree, p)) return true;
  /* This sets one attribute; nosuid, nodev and noexec stay as they are. */
  if (b->readonly != WRITABLE && !bind_set(b, tree, b->readonly == READONLY_RECURSIVE,
                                           (struct k_mount_attr){.attr_set = K_MOUNT_ATTR_RDONLY}, "make it read-only", p))
    return false;
  if (p->err == 0 && b->propagation != 0 &&
      !bind_set(b, tree, (b->propagation & MS_REC) != 0,
                (struct k_mount_attr){.propagation = b->propagation & ~(unsigned long)MS_REC}, "set propagation", p))
    return false;
  if (p->err == 0 &&
      k_move_mount(tree, "", AT_FDCWD, b->target, K_MOVE_MOUNT_F_EMPTY_PATH | K_MOVE_MOUNT_T_SYMLINKS) != 0)
    bind_failed(p, errno, "move_mount", "", b->target);
  return true;
}

/* Returns false when this kernel lacks a call, with nothing mounted; true after success or failure. */
static inline bool bind_by_tree(const struct bind *b, struct bind_problem *p) {
  int tree = k_open_tree(AT_FDCWD, b->source,
                         K_OPEN_TREE_CLONE | K_OPEN_TREE_CLOEXEC | (b->recursive ? K_AT_RECURSIVE : 0));
  if (tree < 0) {
    if (errno == ENOSYS) return false;
    bind_failed(p, errno, "open_tree", "open it", b->source);
    return true;
  }
  bool done = bind_tree(b, tree, p);
  close(tree);
  return done;
}

static inline unsigned long flags_of_mount(const char *path) {
  struct statvfs s;
  unsigned long flags = 0;
  if (statvfs(path, &s) != 0) return 0;
  if (s.f_flag & ST_NOSUID) flags |= MS_NOSUID;
  if (s.f_flag & ST_NODEV) flags |= MS_NODEV;
  if (s.f_flag & ST_NOEXEC) flags |= MS_NOEXEC;
  if (s.f_flag & ST_NOATIME) flags |= MS_NOATIME;
  if (s.f_flag & ST_NODIRATIME) flags |= MS_NODIRATIME;
  if (s.f_flag & ST_RELATIME) flags |= MS_RELATIME;
  return flags;
}

/* Before Linux 5.12. */
static inline void bind_by_remount(const struct bind *b, struct bind_problem *p) {
  if (b->readonly == READONLY_RECURSIVE) {
    bind_failed(p, ENOSYS, "mount_setattr", "make it read-only with all below it", b->target);
    return;
  }
  if (b->idmap != NULL) {
    p->stage = "idmap";
    bind_failed(p, ENOSYS, "mount_setattr", "map its ids", b->target);
    return;
  }
  if (mount(b->source, b->target, NULL, MS_BIND | (b->recursive ? MS_REC : 0), NULL) != 0) {
    bind_failed(p, errno, "mount", "", b->target);
    return;
  }
  if (b->readonly != WRITABLE &&
      mount(NULL, b->target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | flags_of_mount(b->target), NULL) != 0)
    bind_failed(p, errno, "mount", "make it read-only", b->target);
  else if (b->propagation != 0 && mount(NULL, b->target, NULL, b->propagation, NULL) != 0)
    bind_failed(p, errno, "mount", "set propagation", b->target);
  if (p->err != 0) umount2(b->target, MNT_DETACH);
}

static inline void bind_mount(const struct bind *b, struct bind_problem *p) {
  if (b->old_calls || !bind_by_tree(b, p)) bind_by_remount(b, p);
}

#endif
