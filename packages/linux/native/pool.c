/* Starts every thread of libuv's pool. They inherit the namespaces and root of the thread that uses the pool first, and
 * keep them for ever. */
#include "keelson.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static atomic_bool is_warm;

bool pool_is_warm(void) { return atomic_load(&is_warm); }

struct barrier {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  struct timespec deadline;
  int wanted, arrived, most, left;
  napi_deferred deferred;
};

struct meeting {
  struct barrier *barrier;
  napi_async_work work;
};

static void meet(napi_env env, void *data) {
  (void)env;
  struct barrier *b = ((struct meeting *)data)->barrier;
  pthread_mutex_lock(&b->mutex);
  if (++b->arrived > b->most) b->most = b->arrived;
  pthread_cond_broadcast(&b->changed);
  while (b->most < b->wanted && pthread_cond_timedwait(&b->changed, &b->mutex, &b->deadline) == 0) continue;
  b->arrived--;
  pthread_mutex_unlock(&b->mutex);
}

static void met(napi_env env, napi_status status, void *data) {
  (void)status;
  struct meeting *m = data;
  struct barrier *b = m->barrier;
  napi_delete_async_work(env, m->work);
  free(m);
  if (--b->left > 0) return;
  if (b->most >= b->wanted) atomic_store(&is_warm, true);
  napi_value count = js_number(env, b->most);
  if (count != NULL) napi_resolve_deferred(env, b->deferred, count);
  pthread_cond_destroy(&b->changed);
  pthread_mutex_destroy(&b->mutex);
  free(b);
}

/* As in libuv's threadpool.c. */
static int pool_size(void) {
  const char *text = getenv("UV_THREADPOOL_SIZE");
  int size = text != NULL ? atoi(text) : 4;
  if (size == 0) size = 1;
  return size < 0 || size > 1024 ? 1024 : size;
}

/* warmPool(timeoutMs) -> promise of the number of threads that answered */
static napi_value js_warm_pool(napi_env env, napi_callback_info info) {
  napi_value v[1], promise, name;
  int timeout_ms;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "timeoutMs", &timeout_ms)) return NULL;
  struct barrier *b = calloc(1, sizeof *b);
  if (b == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "warm the thread pool");
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&b->mutex, NULL);
  pthread_cond_init(&b->changed, &clock);
  pthread_condattr_destroy(&clock);
  clock_gettime(CLOCK_MONOTONIC, &b->deadline);
  b->deadline.tv_sec += timeout_ms / 1000;
  b->deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
  if (b->deadline.tv_nsec >= 1000000000) {
    b->deadline.tv_sec++;
    b->deadline.tv_nsec -= 1000000000;
  }
  b->wanted = pool_size();
  napi_create_promise(env, &b->deferred, &promise);
  napi_create_string_utf8(env, "keelson.warm", NAPI_AUTO_LENGTH, &name);
  for (int i = 0; i < b->wanted; i++) {
    struct meeting *m = calloc(1, sizeof *m);
    if (m == NULL) abort();
    m->barrier = b;
    b->left++;
    napi_create_async_work(env, NULL, name, meet, met, m, &m->work);
    napi_queue_async_work(env, m->work);
  }
  return promise;
}

void init_pool(napi_env env, napi_value exports) { export_function(env, exports, "warmPool", js_warm_pool); }
