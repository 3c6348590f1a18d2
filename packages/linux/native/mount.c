/* mount(2), umount2(2), and bind mounts. */
#include "keelson.h"

#include <string.h>
#include <sys/mount.h>

#include "bind.h"

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

struct bind_op {
  struct op op;
  struct bind b;
  char *source, *target, *idmap;
};

static void bind_run(struct op *base) {
  struct bind_op *o = (struct bind_op *)base;
  struct bind_problem problem = {0};
  bind_mount(&o->b, &problem);
  if (problem.err == 0) return;
  base->failure.stage = problem.stage;
  failure_set(&base->failure, problem.err, problem.syscall, problem.path, "bind %s on %s%s%s", o->b.source, o->b.target,
              *problem.step == '\0' ? "" : ": ", problem.step);
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
      !property_bool(env, call, "usesOldCalls", &o->b.old_calls) ||
      !property_optional_string(env, call, "idmap", &o->idmap)) {
    bind_destroy(&o->op);
    return NULL;
  }
  o->b.source = o->source;
  o->b.target = o->target;
  o->b.idmap = o->idmap;
  o->b.propagation = (unsigned long)propagation;
  return op_start(env, &o->op, false);
}

void init_mount(napi_env env, napi_value exports) {
  export_function(env, exports, "mount", js_mount);
  export_operation(env, exports, "unmount", js_unmount);
  export_function(env, exports, "bind", js_bind);
}
