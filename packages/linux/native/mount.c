/* mount(2), umount2(2), and bind mounts by open_tree(2), which nobody sees half done. */
#include "keelson.h"
#include "kernel.h"

#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

/* mount({ source, target, fstype, flags, data }) */
static napi_value js_mount(napi_env env, napi_callback_info info) {
  napi_value call;
  AUTO_STRING source = NULL;
  AUTO_STRING target = NULL;
  AUTO_STRING type = NULL;
  AUTO_STRING data = NULL;
  int64_t flags;
  if (!args_read(env, info, 1, &call) || !property_optional_string(env, call, "source", &source) ||
      !property_string(env, call, "target", &target) || !property_optional_string(env, call, "fstype", &type) ||
      !property_int64(env, call, "flags", &flags) || !property_optional_string(env, call, "data", &data))
    return NULL;
  if (mount(source, target, type, (unsigned long)flags, data) == 0) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "mount", target, "mount %s on %s",
                     type != NULL ? type : (source != NULL ? source : "(flags)"), target);
}

struct unmount_op {
  struct op op;
  char *target;
  int flags;
};

static void unmount_run(struct op *base) {
  struct unmount_op *op = (struct unmount_op *)base;
  if (umount2(op->target, op->flags) == 0) return;
  int err = errno;
  failure_set(&base->failure, err, "umount2", op->target, "unmount %s", op->target);
}

static void unmount_destroy(struct op *base) {
  struct unmount_op *op = (struct unmount_op *)base;
  free(op->target);
  free(op);
}

/* unmount(target, flags) */
static napi_value js_unmount(napi_env env, napi_callback_info info) {
  napi_value v[2];
  struct unmount_op *op = calloc(1, sizeof *op);
  if (op == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "unmount");
  op->op.run = unmount_run;
  op->op.destroy = unmount_destroy;
  if (args_read(env, info, 2, v) && arg_string(env, v[0], "target", &op->target) &&
      arg_int(env, v[1], "flags", &op->flags))
    return op_start(env, &op->op, wants_promise(env, info));
  unmount_destroy(&op->op);
  return NULL;
}

enum readonly { WRITABLE, READONLY, READONLY_RECURSIVE };

struct bind {
  const char *source, *target;
  bool recursive;
  int readonly;
  unsigned long propagation; /* MS_* with MS_REC, or 0 */
  const char *idmap;         /* path of a user namespace whose mappings the mount gets, or NULL */
};

/* mount_setattr(2): from outside, ids look as they would in the user namespace. Returns false after a failure. */
static bool idmap_tree(const struct bind *b, int tree, struct failure *f) {
  AUTO_FD userns = open(b->idmap, O_RDONLY | O_CLOEXEC);
  if (userns < 0) {
    int err = errno;
    failure_set(f, err, "open", b->idmap, "bind %s on %s: open user namespace %s", b->source, b->target, b->idmap);
    return false;
  }
  struct k_mount_attr attributes = {.attr_set = K_MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns};
  if (k_mount_setattr(tree, "", AT_EMPTY_PATH | (b->recursive ? K_AT_RECURSIVE : 0), &attributes) == 0) return true;
  int err = errno;
  f->stage = "idmap";
  failure_set(f, err, "mount_setattr", b->source, "bind %s on %s: map its ids", b->source, b->target);
  return false;
}

/* Returns false when this kernel lacks a call, with nothing mounted; true after success or failure. */
static bool bind_by_tree(const struct bind *b, struct failure *f) {
  AUTO_FD tree = k_open_tree(AT_FDCWD, b->source,
                             K_OPEN_TREE_CLONE | K_OPEN_TREE_CLOEXEC | (b->recursive ? K_AT_RECURSIVE : 0));
  if (tree < 0) {
    int err = errno;
    if (err == ENOSYS) return false;
    failure_set(f, err, "open_tree", b->source, "bind %s on %s: open %s", b->source, b->target, b->source);
    return true;
  }
  if (b->idmap != NULL && !idmap_tree(b, tree, f)) return true;
  if (b->readonly != WRITABLE) {
    /* This sets one attribute; nosuid, nodev and noexec stay as they are. */
    struct k_mount_attr attributes = {.attr_set = K_MOUNT_ATTR_RDONLY};
    if (k_mount_setattr(tree, "", AT_EMPTY_PATH | (b->readonly == READONLY_RECURSIVE ? K_AT_RECURSIVE : 0),
                        &attributes) != 0) {
      int err = errno;
      if (err == ENOSYS) return false;
      failure_set(f, err, "mount_setattr", b->source, "bind %s on %s: make it read-only", b->source, b->target);
      return true;
    }
  }
  if (b->propagation != 0) {
    struct k_mount_attr attributes = {.propagation = b->propagation & ~(unsigned long)MS_REC};
    if (k_mount_setattr(tree, "", AT_EMPTY_PATH | (b->propagation & MS_REC ? K_AT_RECURSIVE : 0), &attributes) != 0) {
      int err = errno;
      if (err == ENOSYS) return false;
      failure_set(f, err, "mount_setattr", b->source, "bind %s on %s: set propagation", b->source, b->target);
      return true;
    }
  }
  if (k_move_mount(tree, "", AT_FDCWD, b->target, K_MOVE_MOUNT_F_EMPTY_PATH | K_MOVE_MOUNT_T_SYMLINKS) != 0) {
    int err = errno;
    failure_set(f, err, "move_mount", b->target, "bind %s on %s", b->source, b->target);
  }
  return true;
}

static unsigned long flags_of_mount(const char *path) {
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
static void bind_by_remount(const struct bind *b, struct failure *f) {
  if (b->readonly == READONLY_RECURSIVE) {
    failure_set(f, ENOSYS, "mount_setattr", b->target, "bind %s on %s read-only with all below it", b->source,
                b->target);
    return;
  }
  if (b->idmap != NULL) {
    f->stage = "idmap";
    failure_set(f, ENOSYS, "mount_setattr", b->target, "bind %s on %s: map its ids", b->source, b->target);
    return;
  }
  if (mount(b->source, b->target, NULL, MS_BIND | (b->recursive ? MS_REC : 0), NULL) != 0) {
    int err = errno;
    failure_set(f, err, "mount", b->target, "bind %s on %s", b->source, b->target);
    return;
  }
  if (b->readonly != WRITABLE &&
      mount(NULL, b->target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | flags_of_mount(b->target), NULL) != 0) {
    int err = errno;
    failure_set(f, err, "mount", b->target, "bind %s on %s: make it read-only", b->source, b->target);
  } else if (b->propagation != 0 && mount(NULL, b->target, NULL, b->propagation, NULL) != 0) {
    int err = errno;
    failure_set(f, err, "mount", b->target, "bind %s on %s: set propagation", b->source, b->target);
  }
  if (f->err != 0) umount2(b->target, MNT_DETACH);
}

struct bind_op {
  struct op op;
  struct bind b;
  char *source, *target, *idmap;
  bool old_calls;
};

static void bind_run(struct op *base) {
  struct bind_op *o = (struct bind_op *)base;
  if (o->old_calls || !bind_by_tree(&o->b, &base->failure)) bind_by_remount(&o->b, &base->failure);
}

static void bind_destroy(struct op *base) {
  struct bind_op *o = (struct bind_op *)base;
  free(o->source);
  free(o->target);
  free(o->idmap);
  free(o);
}

/* bind({ source, target, isRecursive, readonly, propagation, usesOldCalls, idmap }) */
static napi_value js_bind(napi_env env, napi_callback_info info) {
  napi_value call;
  int64_t propagation;
  struct bind_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "bind");
  o->op.run = bind_run;
  o->op.destroy = bind_destroy;
  if (!args_read(env, info, 1, &call) || !property_string(env, call, "source", &o->source) ||
      !property_string(env, call, "target", &o->target) ||
      !property_bool(env, call, "isRecursive", &o->b.recursive) ||
      !property_int(env, call, "readonly", &o->b.readonly) ||
      !property_int64(env, call, "propagation", &propagation) ||
      !property_bool(env, call, "usesOldCalls", &o->old_calls) ||
      !property_optional_string(env, call, "idmap", &o->idmap)) {
    bind_destroy(&o->op);
    return NULL;
  }
  o->b.source = o->source;
  o->b.target = o->target;
  o->b.idmap = o->idmap;
  o->b.propagation = (unsigned long)propagation;
  return op_start(env, &o->op, wants_promise(env, info));
}

void init_mount(napi_env env, napi_value exports) {
  export_function(env, exports, "mount", js_mount);
  export_operation(env, exports, "unmount", js_unmount);
  export_operation(env, exports, "bind", js_bind);
}
