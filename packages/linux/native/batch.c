/* Reads hundreds of the kernel's small files about what containers use, in one job on the pool: that costs less than
 * a job for each, and leaves the event loop alone. What cannot be read is null: cgroups and processes may end at any
 * time. */
#include "keelson.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILE (1024 * 1024)

struct text {
  char *data; /* NULL: could not be read */
  size_t length;
};

struct batch_op {
  struct op op;
  char **paths;
  struct text *texts;
  double *counts; /* of processes: three for each path */
  size_t size;
  char *buffer;
};

static void batch_destroy(struct op *base) {
  struct batch_op *o = (struct batch_op *)base;
  if (o->texts != NULL)
    for (size_t i = 0; i < o->size; i++) free(o->texts[i].data);
  free(o->texts);
  free(o->counts);
  free(o->buffer);
  free_string_list(o->paths);
  free(o);
}

/* The content of a file, up to MAX_FILE, in o->buffer; negative when it cannot be read. */
static ssize_t read_whole(struct batch_op *o, const char *path) {
  AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t length = 0;
  while (length < MAX_FILE) {
    ssize_t n = read(fd, o->buffer + length, MAX_FILE - length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    length += (size_t)n;
  }
  return (ssize_t)length;
}

static void keep_text(struct batch_op *o, size_t i, const char *path) {
  ssize_t length = read_whole(o, path);
  if (length < 0) return;
  o->texts[i].data = malloc((size_t)length + 1);
  if (o->texts[i].data == NULL) return;
  memcpy(o->texts[i].data, o->buffer, (size_t)length);
  o->texts[i].length = (size_t)length;
}

static void files_run(struct op *base) {
  struct batch_op *o = (struct batch_op *)base;
  for (size_t i = 0; i < o->size; i++) keep_text(o, i, o->paths[i]);
}

static void net_on_thread(void *data) {
  struct batch_op *o = data;
  for (size_t i = 0; i < o->size; i++) {
    AUTO_FD fd = open(o->paths[i], O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && setns(fd, CLONE_NEWNET) == 0) keep_text(o, i, "/proc/thread-self/net/dev");
  }
}

static void net_run(struct op *base) {
  int err = on_private_thread(net_on_thread, base);
  if (err != 0) failure_set(&base->failure, err, "pthread_create", NULL, "read the interfaces of namespaces");
}

static void count_fds(int pid, double *fds, double *sockets) {
  char path[64], target[16];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *dir = opendir(path);
  if (dir == NULL) return;
  for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
    if (e->d_name[0] == '.') continue;
    *fds += 1;
    ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof target);
    if (n >= 8 && memcmp(target, "socket:[", 8) == 0) *sockets += 1;
  }
  closedir(dir);
}

/* Takes a number off the text of a cgroup.procs; false when there is none left. */
static bool next_number(const char **text, long *number) {
  char *end;
  *number = strtol(*text, &end, 10);
  if (end == *text) return false;
  *text = end;
  return true;
}

static void processes_run(struct op *base) {
  struct batch_op *o = (struct batch_op *)base;
  for (size_t i = 0; i < o->size; i++) {
    double *c = &o->counts[3 * i];
    ssize_t length = read_whole(o, o->paths[i]);
    if (length < 0) {
      c[0] = -1;
      continue;
    }
    o->buffer[length] = '\0';
    long pid;
    for (const char *at = o->buffer; next_number(&at, &pid);) {
      c[0] += 1;
      if (pid > 0 && pid <= INT_MAX) count_fds((int)pid, &c[1], &c[2]);
    }
  }
}

static napi_value texts_result(napi_env env, struct op *base) {
  struct batch_op *o = (struct batch_op *)base;
  napi_value list, value;
  if (napi_create_array_with_length(env, o->size, &list) != napi_ok) return NULL;
  for (size_t i = 0; i < o->size; i++) {
    if (o->texts[i].data == NULL) napi_get_null(env, &value);
    else if (napi_create_string_latin1(env, o->texts[i].data, o->texts[i].length, &value) != napi_ok) return NULL;
    napi_set_element(env, list, (uint32_t)i, value);
  }
  return list;
}

static napi_value counts_result(napi_env env, struct op *base) {
  struct batch_op *o = (struct batch_op *)base;
  napi_value list;
  if (napi_create_array_with_length(env, o->size * 3, &list) != napi_ok) return NULL;
  for (size_t i = 0; i < o->size * 3; i++) napi_set_element(env, list, (uint32_t)i, js_number(env, o->counts[i]));
  return list;
}

/* (paths) -> promise */
static napi_value start(napi_env env, napi_callback_info info, void (*run)(struct op *), bool counts) {
  napi_value v[1];
  struct batch_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "read files");
  o->op.run = run;
  o->op.result = counts ? counts_result : texts_result;
  o->op.destroy = batch_destroy;
  if (!args_read(env, info, 1, v) || !arg_strings(env, v[0], "paths", &o->paths)) {
    batch_destroy(&o->op);
    return NULL;
  }
  while (o->paths[o->size] != NULL) o->size++;
  o->buffer = malloc(MAX_FILE + 1);
  if (counts) o->counts = calloc(o->size * 3 + 1, sizeof *o->counts);
  else o->texts = calloc(o->size + 1, sizeof *o->texts);
  if (o->buffer == NULL || (o->texts == NULL && o->counts == NULL)) {
    batch_destroy(&o->op);
    return throw_errno(env, ENOMEM, "malloc", NULL, "read files");
  }
  return op_start(env, &o->op, true);
}

static napi_value js_read_files(napi_env env, napi_callback_info info) { return start(env, info, files_run, false); }
static napi_value js_read_net(napi_env env, napi_callback_info info) { return start(env, info, net_run, false); }
static napi_value js_count(napi_env env, napi_callback_info info) { return start(env, info, processes_run, true); }

void init_batch(napi_env env, napi_value exports) {
  export_function(env, exports, "readFiles", js_read_files);
  export_function(env, exports, "readNetDev", js_read_net);
  export_function(env, exports, "countProcesses", js_count);
}
