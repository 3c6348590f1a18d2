/* Calls a function each time an fd becomes ready for what was asked, for fds that Node has no class for. A pidfd
 * becomes readable when its process has ended. */
#include "keelson.h"

#include <uv.h>

struct poller {
  uv_poll_t poll;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  bool closing;
  int events; /* what is waited for */
  int owners; /* the loop's handle and the JavaScript object: freed when both are done */
};

static void poller_release(struct poller *p) {
  if (--p->owners == 0) free(p);
}

static void poller_closed(uv_handle_t *handle) {
  struct poller *p = handle->data;
  if (p->context != NULL) {
    napi_handle_scope scope;
    if (napi_open_handle_scope(p->env, &scope) == napi_ok) {
      napi_async_destroy(p->env, p->context);
      napi_close_handle_scope(p->env, scope);
    }
  }
  if (p->hook != NULL) napi_remove_async_cleanup_hook(p->hook);
  poller_release(p);
}

/* The context stays until the handle is closed: it is in use when the callback itself calls this. */
static void poller_close(struct poller *p) {
  if (p->closing) return;
  p->closing = true;
  uv_poll_stop(&p->poll); /* out of epoll at once: the caller may close the fd now */
  if (p->callback != NULL) napi_delete_reference(p->env, p->callback);
  p->callback = NULL;
  uv_close((uv_handle_t *)&p->poll, poller_closed);
}

/* The thread is ending, and with it the code that would have closed the fd. Closed here, the fd does not stay open for
 * the rest of the process, and the other end sees that it is gone. */
static void poller_cleanup(napi_async_cleanup_hook_handle hook, void *data) {
  struct poller *p = data;
  int fd = -1;
  (void)hook;
  if (!p->closing) uv_fileno((uv_handle_t *)&p->poll, &fd);
  poller_close(p);
  close_fd(&fd);
}

static void poller_finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  poller_release(data);
}

static void poller_ready(uv_poll_t *poll, int status, int events) {
  struct poller *p = poll->data;
  napi_env env = p->env;
  napi_handle_scope scope;
  napi_value function = NULL, receiver = NULL, unused, argument;
  if (p->closing || napi_open_handle_scope(env, &scope) != napi_ok) return;
  /* The next read or write reports the error. libuv has stopped waiting, but more may come after it: a packet socket
   * reports its peer's reset before the packets that it still holds. */
  if (status != 0) {
    events = UV_READABLE | UV_WRITABLE;
    if (p->events != 0) (void)uv_poll_start(poll, p->events, poller_ready);
  }
  napi_get_reference_value(env, p->callback, &function);
  napi_create_object(env, &receiver);
  argument = js_number(env, events);
  if (napi_make_callback(env, p->context, receiver, function, 1, &argument, &unused) == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

/* poll(fd, callback) -> handle, waiting for nothing yet. The fd stays the caller's, to be closed after pollClose. */
static napi_value js_poll(napi_env env, napi_callback_info info) {
  napi_value v[2], name, resource, external;
  napi_valuetype type;
  uv_loop_t *loop;
  int fd;
  if (!args_read(env, info, 2, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  if (napi_typeof(env, v[1], &type) != napi_ok || type != napi_function)
    return throw_type(env, "callback", "a function");
  struct poller *p = calloc(1, sizeof *p);
  if (p == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "poll fd %d", fd);
  p->env = env;
  p->owners = 2;
  napi_get_uv_event_loop(env, &loop);
  int rc = uv_poll_init(loop, &p->poll, fd);
  if (rc != 0) {
    free(p);
    return throw_errno(env, -rc, "uv_poll_init", NULL, "poll fd %d", fd);
  }
  p->poll.data = p;
  napi_create_string_utf8(env, "keelson.poll", NAPI_AUTO_LENGTH, &name);
  napi_create_object(env, &resource);
  napi_create_reference(env, v[1], 1, &p->callback);
  napi_async_init(env, resource, name, &p->context);
  napi_add_async_cleanup_hook(env, poller_cleanup, p, &p->hook);
  if (napi_create_external(env, p, poller_finalize, NULL, &external) == napi_ok) return external;
  p->owners--;
  poller_close(p);
  return NULL;
}

static struct poller *arg_poller(napi_env env, napi_value value) {
  void *data = NULL;
  if (napi_get_value_external(env, value, &data) == napi_ok && data != NULL) return data;
  throw_type(env, "handle", "what poll returned");
  return NULL;
}

/* pollEvents(handle, events): 1 readable, 2 writable, 3 both, 0 none */
static napi_value js_poll_events(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int events;
  if (!args_read(env, info, 2, v) || !arg_int(env, v[1], "events", &events)) return NULL;
  struct poller *p = arg_poller(env, v[0]);
  if (p == NULL) return NULL;
  if (p->closing) return js_undefined(env);
  events &= UV_READABLE | UV_WRITABLE;
  p->events = events;
  int rc = events == 0 ? uv_poll_stop(&p->poll) : uv_poll_start(&p->poll, events, poller_ready);
  if (rc == 0) return js_undefined(env);
  return throw_errno(env, -rc, "uv_poll_start", NULL, "poll an fd");
}

/* pollUnref(handle): waiting for it no longer keeps the event loop running */
static napi_value js_poll_unref(napi_env env, napi_callback_info info) {
  napi_value v[1];
  if (!args_read(env, info, 1, v)) return NULL;
  struct poller *p = arg_poller(env, v[0]);
  if (p == NULL) return NULL;
  uv_unref((uv_handle_t *)&p->poll);
  return js_undefined(env);
}

static napi_value js_poll_close(napi_env env, napi_callback_info info) {
  napi_value v[1];
  if (!args_read(env, info, 1, v)) return NULL;
  struct poller *p = arg_poller(env, v[0]);
  if (p == NULL) return NULL;
  poller_close(p);
  return js_undefined(env);
}

void init_poll(napi_env env, napi_value exports) {
  export_function(env, exports, "poll", js_poll);
  export_function(env, exports, "pollEvents", js_poll_events);
  export_function(env, exports, "pollUnref", js_poll_unref);
  export_function(env, exports, "pollClose", js_poll_close);
}
