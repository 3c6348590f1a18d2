/* Calls a function once when an fd becomes readable: a pidfd does when its process has ended. */
#include "keelson.h"

#include <uv.h>

struct watch {
  uv_poll_t poll;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  bool closing;
  int owners; /* the loop's handle and the JavaScript object: freed when both are done */
};

static void watch_release(struct watch *w) {
  if (--w->owners == 0) free(w);
}

static void watch_closed(uv_handle_t *handle) {
  struct watch *w = handle->data;
  if (w->hook != NULL) napi_remove_async_cleanup_hook(w->hook);
  watch_release(w);
}

static void watch_close(struct watch *w) {
  if (w->closing) return;
  w->closing = true;
  uv_poll_stop(&w->poll); /* out of epoll at once: the caller may close the fd now */
  if (w->callback != NULL) napi_delete_reference(w->env, w->callback);
  if (w->context != NULL) napi_async_destroy(w->env, w->context);
  w->callback = NULL;
  w->context = NULL;
  uv_close((uv_handle_t *)&w->poll, watch_closed);
}

/* The worker that watches is ending; its loop must have no handle left open. */
static void watch_cleanup(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  watch_close(data);
}

static void watch_finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  watch_release(data);
}

static void watch_ready(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  struct watch *w = poll->data;
  napi_env env = w->env;
  napi_handle_scope scope;
  napi_value function = NULL, receiver = NULL, unused;
  if (w->closing || napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_async_context context = w->context;
  napi_get_reference_value(env, w->callback, &function);
  napi_create_object(env, &receiver);
  w->context = NULL; /* outlives watch_close for the call */
  watch_close(w);
  if (napi_make_callback(env, context, receiver, function, 0, NULL, &unused) == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
  napi_async_destroy(env, context);
  napi_close_handle_scope(env, scope);
}

/* watch(fd, keepAlive, callback) -> handle. The fd stays the caller's, to be closed after the callback or unwatch. */
static napi_value js_watch(napi_env env, napi_callback_info info) {
  napi_value v[3], name, resource, external;
  napi_valuetype type;
  uv_loop_t *loop;
  int fd;
  bool keep_alive;
  if (!args_read(env, info, 3, v) || !arg_int(env, v[0], "fd", &fd) || !arg_bool(env, v[1], "keepAlive", &keep_alive))
    return NULL;
  if (napi_typeof(env, v[2], &type) != napi_ok || type != napi_function)
    return throw_type(env, "callback", "a function");
  struct watch *w = calloc(1, sizeof *w);
  if (w == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "watch fd %d", fd);
  w->env = env;
  w->owners = 2;
  napi_get_uv_event_loop(env, &loop);
  int rc = uv_poll_init(loop, &w->poll, fd);
  if (rc != 0) {
    free(w);
    return throw_errno(env, -rc, "uv_poll_init", NULL, "watch fd %d", fd);
  }
  w->poll.data = w;
  napi_create_string_utf8(env, "keelson.watch", NAPI_AUTO_LENGTH, &name);
  napi_create_object(env, &resource);
  napi_create_reference(env, v[2], 1, &w->callback);
  napi_async_init(env, resource, name, &w->context);
  napi_add_async_cleanup_hook(env, watch_cleanup, w, &w->hook);
  if (napi_create_external(env, w, watch_finalize, NULL, &external) != napi_ok) {
    w->owners--;
    watch_close(w);
    return NULL;
  }
  if (!keep_alive) uv_unref((uv_handle_t *)&w->poll);
  rc = uv_poll_start(&w->poll, UV_READABLE, watch_ready);
  if (rc == 0) return external;
  watch_close(w);
  return throw_errno(env, -rc, "uv_poll_start", NULL, "watch fd %d", fd);
}

static napi_value js_unwatch(napi_env env, napi_callback_info info) {
  napi_value v[1];
  void *data;
  if (!args_read(env, info, 1, v)) return NULL;
  if (napi_get_value_external(env, v[0], &data) != napi_ok) return throw_type(env, "handle", "what watch returned");
  watch_close(data);
  return js_undefined(env);
}

void init_watch(napi_env env, napi_value exports) {
  export_function(env, exports, "watch", js_watch);
  export_function(env, exports, "unwatch", js_unwatch);
}
