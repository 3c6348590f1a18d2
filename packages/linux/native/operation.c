/* Operations, which run in place or on libuv's pool, and threads that end with a call. */
#include "keelson.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

static napi_value op_result(napi_env env, struct op *op) {
  return op->result != NULL ? op->result(env, op) : js_undefined(env);
}

static void op_execute(napi_env env, void *data) {
  (void)env;
  struct op *op = data;
  op->run(op);
}

/* Resolves or rejects the promise, and frees the op with everything in it. */
static void op_settle(napi_env env, struct op *op) {
  if (op->failure.err != 0) {
    napi_value error = failure_error(env, &op->failure);
    if (error != NULL) napi_reject_deferred(env, op->deferred, error);
  } else {
    napi_value value = op_result(env, op);
    if (value != NULL) napi_resolve_deferred(env, op->deferred, value);
  }
  if (op->work != NULL) napi_delete_async_work(env, op->work);
  failure_clear(&op->failure);
  op->destroy(op);
}

static void op_complete(napi_env env, napi_status status, void *data) {
  struct op *op = data;
  if (status != napi_ok) failure_set(&op->failure, ECANCELED, "queue", NULL, "run on the thread pool");
  op_settle(env, op);
}

static napi_value run_here(napi_env env, struct op *op) {
  napi_value value = NULL;
  op->run(op);
  if (op->failure.err != 0) failure_throw(env, &op->failure);
  else value = op_result(env, op);
  op->destroy(op);
  return value;
}

napi_value op_start(napi_env env, struct op *op, bool async) {
  napi_value promise;
  if (!async) return run_here(env, op);
  if (napi_create_promise(env, &op->deferred, &promise) != napi_ok) {
    op->destroy(op);
    return throw_errno(env, EAGAIN, "queue", NULL, "queue work on the thread pool");
  }
  if (napi_create_async_work(env, NULL, js_string(env, "keelson"), op_execute, op_complete, op, &op->work) == napi_ok &&
      napi_queue_async_work(env, op->work) == napi_ok)
    return promise;
  failure_set(&op->failure, EAGAIN, "queue", NULL, "queue work on the thread pool");
  op_settle(env, op);
  return promise;
}

bool wants_promise(napi_env env, napi_callback_info info) {
  void *data = NULL;
  return napi_get_cb_info(env, info, NULL, NULL, NULL, &data) == napi_ok && data != NULL;
}

void export_operation(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  static const char async_data;
  char async_name[64];
  napi_value function;
  export_function(env, exports, name, callback);
  snprintf(async_name, sizeof async_name, "%sAsync", name);
  if (napi_create_function(env, async_name, NAPI_AUTO_LENGTH, callback, (void *)&async_data, &function) == napi_ok)
    napi_set_named_property(env, exports, async_name, function);
}

struct thread_call {
  void (*fn)(void *);
  void *arg;
};

static void *thread_main(void *data) {
  struct thread_call *call = data;
  call->fn(call->arg);
  return NULL;
}

int on_private_thread(void (*fn)(void *), void *arg) {
  struct thread_call call = {fn, arg};
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, before;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited by the new thread: Node's handlers never run there */
  int err = pthread_create(&thread, &attributes, thread_main, &call);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (err == 0) pthread_join(thread, NULL);
  return err;
}
