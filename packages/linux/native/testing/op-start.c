/* An operation for the pool when Node refuses to queue its work, or even to make it: what is left of it? The
 * functions of Node-API that operation.c calls are replaced here. Prints what happened, in order. */
#include "../operation.c"

#include <stdarg.h>
#include <string.h>

static bool makes_work, queues_work;
static const char *separator;

__attribute__((format(printf, 1, 2))) static void happened(const char *format, ...) {
  va_list list;
  va_start(list, format);
  fputs(separator, stdout);
  vprintf(format, list);
  va_end(list);
  separator = ", ";
}

napi_status napi_create_promise(napi_env env, napi_deferred *deferred, napi_value *promise) {
  (void)env;
  *deferred = (napi_deferred)1;
  *promise = (napi_value)2;
  return napi_ok;
}

napi_status napi_create_async_work(napi_env env, napi_value resource, napi_value name, napi_async_execute_callback run,
                                   napi_async_complete_callback complete, void *data, napi_async_work *work) {
  (void)env, (void)resource, (void)name, (void)run, (void)complete, (void)data;
  if (!makes_work) return napi_generic_failure;
  *work = (napi_async_work)3;
  return napi_ok;
}

napi_status napi_queue_async_work(napi_env env, napi_async_work work) {
  (void)env, (void)work;
  return queues_work ? napi_ok : napi_generic_failure;
}

napi_status napi_delete_async_work(napi_env env, napi_async_work work) {
  (void)env, (void)work;
  happened("work deleted");
  return napi_ok;
}

napi_status napi_reject_deferred(napi_env env, napi_deferred deferred, napi_value error) {
  (void)env, (void)deferred;
  happened("rejected (%s)", (const char *)error);
  return napi_ok;
}

napi_status napi_resolve_deferred(napi_env env, napi_deferred deferred, napi_value value) {
  (void)env, (void)deferred, (void)value;
  happened("resolved");
  return napi_ok;
}

napi_status napi_get_cb_info(napi_env env, napi_callback_info info, size_t *count, napi_value *values,
                             napi_value *receiver, void **data) {
  (void)env, (void)info, (void)count, (void)values, (void)receiver, (void)data;
  return napi_generic_failure;
}

napi_status napi_create_function(napi_env env, const char *name, size_t length, napi_callback callback, void *data,
                                 napi_value *function) {
  (void)env, (void)name, (void)length, (void)callback, (void)data, (void)function;
  return napi_generic_failure;
}

napi_status napi_set_named_property(napi_env env, napi_value object, const char *name, napi_value value) {
  (void)env, (void)object, (void)name, (void)value;
  return napi_generic_failure;
}

napi_value js_string(napi_env env, const char *text) { return (void)env, (napi_value)text; }
napi_value js_undefined(napi_env env) { return (void)env, (napi_value) "undefined"; }
void export_function(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  (void)env, (void)exports, (void)name, (void)callback;
}
void failure_set(struct failure *f, int err, const char *syscall, const char *path, const char *format, ...) {
  (void)syscall, (void)path;
  f->err = err;
  f->what = strdup(format);
}
void failure_clear(struct failure *f) { free(f->what); }
napi_value failure_error(napi_env env, struct failure *f) { return (void)env, (napi_value)f->what; }
napi_value failure_throw(napi_env env, struct failure *f) {
  (void)env;
  happened("thrown (%s)", f->what);
  failure_clear(f);
  return NULL;
}
napi_value throw_errno(napi_env env, int err, const char *syscall, const char *path, const char *format, ...) {
  (void)env, (void)err, (void)syscall, (void)path;
  happened("thrown (%s)", format);
  return NULL;
}

static void destroy(struct op *op) {
  happened("op freed");
  free(op);
}

static void start(bool makes, bool queues) {
  struct op *op = calloc(1, sizeof *op);
  if (op == NULL) abort();
  op->destroy = destroy;
  makes_work = makes;
  queues_work = queues;
  printf("create %s, queue %s:", makes ? "works" : "fails", queues ? "works" : "fails");
  separator = " ";
  napi_value value = op_start(NULL, op, true);
  happened(value == NULL ? "no promise" : "a promise");
  if (makes && queues) op_complete(NULL, napi_ok, op);
  putchar('\n');
}

int main(void) {
  start(true, true);
  start(true, false);
  start(false, false);
  return 0;
}
