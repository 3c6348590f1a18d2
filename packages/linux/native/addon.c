/* Registration, arguments and errors. The addon is loaded in worker threads too, so static data that changes is atomic,
 * and there is next to none. */
#include "keelson.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Failures ---- */

static void failure_set_va(struct failure *f, int err, const char *syscall, const char *path, const char *format,
                           va_list list) {
  if (f->err != 0) return;
  f->err = err != 0 ? err : EIO;
  f->syscall = syscall;
  f->path = path != NULL ? strdup(path) : NULL;
  if (vasprintf(&f->what, format, list) < 0) f->what = NULL;
}

void failure_set(struct failure *f, int err, const char *syscall, const char *path, const char *format, ...) {
  va_list list;
  va_start(list, format);
  failure_set_va(f, err, syscall, path, format, list);
  va_end(list);
}

void failure_clear(struct failure *f) {
  free(f->path);
  free(f->what);
  free(f->detail);
  memset(f, 0, sizeof *f);
}

napi_value js_string(napi_env env, const char *text) {
  napi_value value = NULL;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  return value;
}

napi_value failure_error(napi_env env, struct failure *f) {
  const char *code = strerrorname_np(f->err);
  const char *description = strerrordesc_np(f->err);
  if (code == NULL) code = "UNKNOWN";
  if (description == NULL) description = "unknown error";
  char *message = NULL;
  if (asprintf(&message, "%s: %s (%s)%s%s", f->what != NULL ? f->what : f->syscall, description, code,
               f->detail != NULL ? ": " : "", f->detail != NULL ? f->detail : "") < 0)
    message = NULL;
  napi_value error = NULL;
  napi_create_error(env, js_string(env, code), js_string(env, message != NULL ? message : code), &error);
  free(message);
  if (error == NULL) return NULL;
  set_property(env, error, "errno", js_number(env, f->err));
  set_property(env, error, "syscall", js_string(env, f->syscall));
  if (f->path != NULL) set_property(env, error, "path", js_string(env, f->path));
  if (f->stage != NULL) set_property(env, error, "stage", js_string(env, f->stage));
  return error;
}

napi_value failure_throw(napi_env env, struct failure *f) {
  napi_value error = failure_error(env, f);
  failure_clear(f);
  if (error != NULL) napi_throw(env, error);
  return NULL;
}

napi_value throw_errno(napi_env env, int err, const char *syscall, const char *path, const char *format, ...) {
  struct failure f = {0};
  va_list list;
  va_start(list, format);
  failure_set_va(&f, err, syscall, path, format, list);
  va_end(list);
  return failure_throw(env, &f);
}

napi_value throw_type(napi_env env, const char *name, const char *wanted) {
  char message[160];
  snprintf(message, sizeof message, "%s must be %s", name, wanted);
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return NULL;
}

/* ---- Arguments ---- */

bool args_read(napi_env env, napi_callback_info info, size_t count, napi_value *values) {
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, values, NULL, NULL) != napi_ok) return false;
  if (given >= count) return true;
  throw_type(env, "the argument list", "complete");
  return false;
}

bool arg_bytes(napi_env env, napi_value value, const char *name, void **data, size_t *length) {
  bool is = false;
  napi_typedarray_type type;
  *data = NULL;
  *length = 0;
  if (napi_is_typedarray(env, value, &is) == napi_ok && is &&
      napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) == napi_ok && type == napi_uint8_array)
    return true;
  throw_type(env, name, "a Uint8Array");
  return false;
}

bool arg_string(napi_env env, napi_value value, const char *name, char **out) {
  napi_valuetype type;
  size_t length = 0;
  *out = NULL;
  if (napi_typeof(env, value, &type) != napi_ok) return false;
  if (type == napi_string) {
    if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return false;
    char *text = malloc(length + 1);
    if (text == NULL) return throw_type(env, name, "small enough for memory"), false;
    napi_get_value_string_utf8(env, value, text, length + 1, &length);
    *out = text;
  } else if (type == napi_object) {
    void *data;
    if (!arg_bytes(env, value, name, &data, &length)) return false;
    char *text = malloc(length + 1);
    if (text == NULL) return throw_type(env, name, "small enough for memory"), false;
    if (length > 0) memcpy(text, data, length);
    text[length] = '\0';
    *out = text;
  } else {
    throw_type(env, name, "a string or bytes");
    return false;
  }
  if (memchr(*out, '\0', length) == NULL) return true;
  free(*out);
  *out = NULL;
  throw_type(env, name, "without NUL bytes");
  return false;
}

bool arg_optional_string(napi_env env, napi_value value, const char *name, char **out) {
  napi_valuetype type;
  *out = NULL;
  if (napi_typeof(env, value, &type) != napi_ok) return false;
  if (type == napi_null || type == napi_undefined) return true;
  return arg_string(env, value, name, out);
}

bool arg_strings(napi_env env, napi_value value, const char *name, char ***out) {
  uint32_t count = 0;
  *out = NULL;
  if (napi_get_array_length(env, value, &count) != napi_ok) return throw_type(env, name, "an array"), false;
  char **list = calloc((size_t)count + 1, sizeof *list);
  if (list == NULL) return throw_type(env, name, "small enough for memory"), false;
  for (uint32_t i = 0; i < count; i++) {
    napi_value item;
    if (napi_get_element(env, value, i, &item) == napi_ok && arg_string(env, item, name, &list[i])) continue;
    free_string_list(list);
    return false;
  }
  *out = list;
  return true;
}

bool arg_int(napi_env env, napi_value value, const char *name, int *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  throw_type(env, name, "a number");
  return false;
}

bool arg_int64(napi_env env, napi_value value, const char *name, int64_t *out) {
  if (napi_get_value_int64(env, value, out) == napi_ok) return true;
  throw_type(env, name, "a number");
  return false;
}

bool arg_bigint(napi_env env, napi_value value, const char *name, int64_t *out) {
  bool lossless = false;
  if (napi_get_value_bigint_int64(env, value, out, &lossless) == napi_ok && lossless) return true;
  throw_type(env, name, "a 64 bit bigint");
  return false;
}

bool arg_bool(napi_env env, napi_value value, const char *name, bool *out) {
  if (napi_get_value_bool(env, value, out) == napi_ok) return true;
  throw_type(env, name, "a boolean");
  return false;
}

/* ---- Properties ---- */

static napi_value property_of(napi_env env, napi_value object, const char *name) {
  napi_value value;
  if (napi_get_named_property(env, object, name, &value) == napi_ok) return value;
  return js_undefined(env); /* the reader refuses that, naming the property, unless it is optional */
}

bool property_string(napi_env env, napi_value object, const char *name, char **out) {
  return arg_string(env, property_of(env, object, name), name, out);
}

bool property_optional_string(napi_env env, napi_value object, const char *name, char **out) {
  return arg_optional_string(env, property_of(env, object, name), name, out);
}

bool property_strings(napi_env env, napi_value object, const char *name, char ***out) {
  return arg_strings(env, property_of(env, object, name), name, out);
}

bool property_int(napi_env env, napi_value object, const char *name, int *out) {
  return arg_int(env, property_of(env, object, name), name, out);
}

bool property_int64(napi_env env, napi_value object, const char *name, int64_t *out) {
  return arg_int64(env, property_of(env, object, name), name, out);
}

bool property_bool(napi_env env, napi_value object, const char *name, bool *out) {
  return arg_bool(env, property_of(env, object, name), name, out);
}

bool property_ints(napi_env env, napi_value object, const char *name, int **out, size_t *count) {
  napi_value value = property_of(env, object, name);
  bool is = false;
  napi_typedarray_type type;
  void *data;
  *out = NULL;
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is ||
      napi_get_typedarray_info(env, value, &type, count, &data, NULL, NULL) != napi_ok || type != napi_int32_array)
    return throw_type(env, name, "an Int32Array"), false;
  *out = malloc((*count + 1) * sizeof **out);
  if (*out == NULL) return throw_type(env, name, "small enough for memory"), false;
  if (*count > 0) memcpy(*out, data, *count * sizeof **out);
  return true;
}

/* ---- Memory ---- */

void free_string_list(char **strings) {
  if (strings == NULL) return;
  for (char **s = strings; *s != NULL; s++) free(*s);
  free(strings);
}

void free_string(char **string) { free(*string); }
void free_strings(char ***strings) { free_string_list(*strings); }
void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
}

/* ---- Results ---- */

napi_value js_undefined(napi_env env) {
  napi_value value = NULL;
  napi_get_undefined(env, &value);
  return value;
}

napi_value js_number(napi_env env, double number) {
  napi_value value = NULL;
  napi_create_double(env, number, &value);
  return value;
}

napi_value js_bigint(napi_env env, uint64_t number) {
  napi_value value = NULL;
  napi_create_bigint_uint64(env, number, &value);
  return value;
}

napi_value js_bool(napi_env env, bool is) {
  napi_value value = NULL;
  napi_get_boolean(env, is, &value);
  return value;
}

void set_property(napi_env env, napi_value object, const char *name, napi_value value) {
  if (value != NULL) napi_set_named_property(env, object, name, value);
}

void export_function(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, NULL, &function) == napi_ok)
    napi_set_named_property(env, exports, name, function);
}

NAPI_MODULE_INIT() {
  init_mount(env, exports);
  init_overlay(env, exports);
  init_namespace(env, exports);
  init_spawn(env, exports);
  init_process(env, exports);
  init_file(env, exports);
  init_tree(env, exports);
  init_root(env, exports);
  init_pool(env, exports);
  init_batch(env, exports);
  init_poll(env, exports);
  init_pty(env, exports);
  init_socket(env, exports);
  init_place(env, exports);
  init_sealed(env, exports);
  return exports;
}
