/* What the files of the addon share: arguments, errors, and work off the main thread. */
#ifndef KEELSON_H
#define KEELSON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define NAPI_VERSION 8

#include <errno.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* ---- Failures: errno at the moment of the call, turned into an Error later ---- */

struct failure {
  int err;             /* 0 = nothing failed */
  const char *syscall; /* static string */
  const char *stage;   /* static string or NULL: the step that failed, of a call that has several */
  char *path;          /* owned or NULL */
  char *what;          /* owned: "mount overlay on /x" */
  char *detail;        /* owned or NULL: the kernel's message */
};

/* Keeps the first failure: a cleanup that fails later must not hide the cause. */
void failure_set(struct failure *f, int err, const char *syscall, const char *path, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void failure_clear(struct failure *f);
/* An Error with code, errno, syscall, path and stage; NULL when none can be made. */
napi_value failure_error(napi_env env, struct failure *f);
/* Throws that Error and clears the failure; returns NULL. */
napi_value failure_throw(napi_env env, struct failure *f);
napi_value throw_errno(napi_env env, int err, const char *syscall, const char *path, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
napi_value throw_type(napi_env env, const char *name, const char *wanted);

/* ---- Arguments. Each returns false with a TypeError pending. ---- */

bool args_read(napi_env env, napi_callback_info info, size_t count, napi_value *values);
bool arg_string(napi_env env, napi_value value, const char *name, char **out);          /* string or bytes, no NUL */
bool arg_optional_string(napi_env env, napi_value value, const char *name, char **out); /* null gives NULL */
bool arg_strings(napi_env env, napi_value value, const char *name, char ***out);        /* NULL-terminated */
bool arg_int(napi_env env, napi_value value, const char *name, int *out);
bool arg_int64(napi_env env, napi_value value, const char *name, int64_t *out);
bool arg_bigint(napi_env env, napi_value value, const char *name, int64_t *out);
bool arg_bool(napi_env env, napi_value value, const char *name, bool *out);
bool arg_bytes(napi_env env, napi_value value, const char *name, void **data, size_t *length);

/* Calls of many arguments take one object. A property is read as an argument is; a missing one counts as undefined,
 * which only the optional string may be. */
bool property_string(napi_env env, napi_value object, const char *name, char **out);
bool property_optional_string(napi_env env, napi_value object, const char *name, char **out);
bool property_strings(napi_env env, napi_value object, const char *name, char ***out);
bool property_int(napi_env env, napi_value object, const char *name, int *out);
bool property_int64(napi_env env, napi_value object, const char *name, int64_t *out);
bool property_bool(napi_env env, napi_value object, const char *name, bool *out);
bool property_ints(napi_env env, napi_value object, const char *name, int **out, size_t *count); /* of an Int32Array */

void free_string(char **string);
void free_strings(char ***strings);
void free_string_list(char **strings);
void close_fd(int *fd);
#define AUTO_STRING __attribute__((cleanup(free_string))) char *
#define AUTO_STRINGS __attribute__((cleanup(free_strings))) char **
#define AUTO_FD __attribute__((cleanup(close_fd))) int

/* ---- Results ---- */

napi_value js_undefined(napi_env env);
napi_value js_string(napi_env env, const char *text);
napi_value js_number(napi_env env, double value);
napi_value js_bigint(napi_env env, uint64_t value);
napi_value js_bool(napi_env env, bool value);
void set_property(napi_env env, napi_value object, const char *name, napi_value value);
void export_function(napi_env env, napi_value exports, const char *name, napi_callback callback);

/* ---- Operations: the same C code, called in place or on libuv's pool ---- */

struct op {
  void (*run)(struct op *op); /* must not use Node-API: it may be on a pool thread */
  napi_value (*result)(napi_env env, struct op *op); /* NULL: undefined */
  void (*destroy)(struct op *op);                    /* frees everything, the op included */
  struct failure failure;
  napi_async_work work;
  napi_deferred deferred;
};

/* Runs the op now (result or exception) or, when async, on the pool (promise). Owns the op from here on. */
napi_value op_start(napi_env env, struct op *op, bool async);
/* Exports one callback twice, as "name" and as "nameAsync", where wants_promise() is true. */
void export_operation(napi_env env, napi_value exports, const char *name, napi_callback callback);
bool wants_promise(napi_env env, napi_callback_info info);

/* Runs fn on a new thread with all signals blocked, and joins it: the namespaces, root or directory that it changes for
 * itself (unshare(2) is per thread) end with the thread. Returns 0 or an errno. */
int on_private_thread(void (*fn)(void *), void *arg);

/* Whether every thread of libuv's pool has been started (pool.c). */
bool pool_is_warm(void);

/* ---- One for each file ---- */

void init_mount(napi_env env, napi_value exports);
void init_overlay(napi_env env, napi_value exports);
void init_namespace(napi_env env, napi_value exports);
void init_spawn(napi_env env, napi_value exports);
void init_process(napi_env env, napi_value exports);
void init_file(napi_env env, napi_value exports);
void init_tree(napi_env env, napi_value exports);
void init_root(napi_env env, napi_value exports);
void init_pool(napi_env env, napi_value exports);
void init_batch(napi_env env, napi_value exports);
void init_poll(napi_env env, napi_value exports);
void init_pty(napi_env env, napi_value exports);
void init_socket(napi_env env, napi_value exports);
void init_place(napi_env env, napi_value exports);
void init_sealed(napi_env env, napi_value exports);

#endif
