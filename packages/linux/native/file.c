/* File system calls that Node has no function for. */
#include "keelson.h"
#include "kernel.h"

#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

static napi_value js_statfs(napi_env env, napi_callback_info info) {
  napi_value v[1], result;
  AUTO_STRING path = NULL;
  struct statfs s;
  if (!args_read(env, info, 1, v) || !arg_string(env, v[0], "path", &path)) return NULL;
  if (statfs(path, &s) != 0) {
    int err = errno;
    return throw_errno(env, err, "statfs", path, "statfs %s", path);
  }
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  set_property(env, result, "type", js_bigint(env, (uint64_t)s.f_type));
  set_property(env, result, "blockSizeBytes", js_bigint(env, (uint64_t)s.f_bsize));
  set_property(env, result, "blocks", js_bigint(env, s.f_blocks));
  set_property(env, result, "blocksFree", js_bigint(env, s.f_bfree));
  set_property(env, result, "blocksAvailable", js_bigint(env, s.f_bavail));
  set_property(env, result, "inodes", js_bigint(env, s.f_files));
  set_property(env, result, "inodesFree", js_bigint(env, s.f_ffree));
  return result;
}

/* flock(fd) -> false when another open file holds the lock */
static napi_value js_flock(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd, rc;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  do rc = flock(fd, LOCK_EX | LOCK_NB);
  while (rc != 0 && errno == EINTR);
  if (rc == 0) return js_bool(env, true);
  int err = errno;
  if (err == EWOULDBLOCK) return js_bool(env, false);
  return throw_errno(env, err, "flock", NULL, "lock fd %d", fd);
}

static napi_value js_lsetxattr(napi_env env, napi_callback_info info) {
  napi_value v[3];
  AUTO_STRING path = NULL;
  AUTO_STRING name = NULL;
  void *data;
  size_t length;
  if (!args_read(env, info, 3, v) || !arg_string(env, v[0], "path", &path) || !arg_string(env, v[1], "name", &name) ||
      !arg_bytes(env, v[2], "value", &data, &length))
    return NULL;
  if (lsetxattr(path, name, length > 0 ? data : "", length, 0) == 0) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "lsetxattr", path, "set xattr %s of %s", name, path);
}

static napi_value js_lremovexattr(napi_env env, napi_callback_info info) {
  napi_value v[2];
  AUTO_STRING path = NULL;
  AUTO_STRING name = NULL;
  if (!args_read(env, info, 2, v) || !arg_string(env, v[0], "path", &path) || !arg_string(env, v[1], "name", &name))
    return NULL;
  if (lremovexattr(path, name) == 0) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "lremovexattr", path, "remove xattr %s of %s", name, path);
}

/* An attribute's value, or the list of names when name is NULL. The size may change between the two calls. */
static ssize_t read_xattr(const char *path, const char *name, char **out) {
  for (int i = 0; i < 16; i++) {
    ssize_t size = name != NULL ? lgetxattr(path, name, NULL, 0) : llistxattr(path, NULL, 0);
    if (size < 0) return -1;
    char *data = malloc((size_t)size + 1);
    if (data == NULL) return errno = ENOMEM, -1;
    ssize_t n = 0;
    if (size > 0 && name != NULL) n = lgetxattr(path, name, data, (size_t)size);
    else if (size > 0) n = llistxattr(path, data, (size_t)size);
    if (n >= 0) {
      *out = data;
      return n;
    }
    int err = errno;
    free(data);
    errno = err;
    if (err != ERANGE) return -1;
  }
  return -1;
}

/* null when there is no such attribute */
static napi_value js_lgetxattr(napi_env env, napi_callback_info info) {
  napi_value v[2], result = NULL;
  AUTO_STRING path = NULL;
  AUTO_STRING name = NULL;
  AUTO_STRING data = NULL;
  if (!args_read(env, info, 2, v) || !arg_string(env, v[0], "path", &path) || !arg_string(env, v[1], "name", &name))
    return NULL;
  ssize_t n = read_xattr(path, name, &data);
  int err = errno;
  if (n >= 0) napi_create_buffer_copy(env, (size_t)n, data, NULL, &result);
  else if (err == ENODATA) napi_get_null(env, &result);
  else return throw_errno(env, err, "lgetxattr", path, "read xattr %s of %s", name, path);
  return result;
}

static napi_value js_llistxattr(napi_env env, napi_callback_info info) {
  napi_value v[1], result = NULL;
  AUTO_STRING path = NULL;
  AUTO_STRING data = NULL;
  if (!args_read(env, info, 1, v) || !arg_string(env, v[0], "path", &path)) return NULL;
  ssize_t n = read_xattr(path, NULL, &data);
  int err = errno;
  if (n < 0) return throw_errno(env, err, "llistxattr", path, "list xattrs of %s", path);
  napi_create_buffer_copy(env, (size_t)n, data, NULL, &result);
  return result;
}

static napi_value js_mknod(napi_env env, napi_callback_info info) {
  napi_value v[4];
  AUTO_STRING path = NULL;
  int mode;
  int64_t major_number, minor_number;
  if (!args_read(env, info, 4, v) || !arg_string(env, v[0], "path", &path) || !arg_int(env, v[1], "mode", &mode) ||
      !arg_int64(env, v[2], "major", &major_number) || !arg_int64(env, v[3], "minor", &minor_number))
    return NULL;
  if (mknod(path, (mode_t)mode, makedev((unsigned)major_number, (unsigned)minor_number)) == 0) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "mknod", path, "make device %s", path);
}

static struct timespec timespec_of(int64_t ns) {
  struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  if (t.tv_nsec < 0) {
    t.tv_nsec += 1000000000;
    t.tv_sec--;
  }
  return t;
}

static napi_value js_utimensat(napi_env env, napi_callback_info info) {
  napi_value v[4];
  AUTO_STRING path = NULL;
  int64_t atime, mtime;
  bool nofollow;
  if (!args_read(env, info, 4, v) || !arg_string(env, v[0], "path", &path) ||
      !arg_bigint(env, v[1], "atimeNs", &atime) || !arg_bigint(env, v[2], "mtimeNs", &mtime) ||
      !arg_bool(env, v[3], "nofollow", &nofollow))
    return NULL;
  struct timespec times[2] = {timespec_of(atime), timespec_of(mtime)};
  if (utimensat(AT_FDCWD, path, times, nofollow ? AT_SYMLINK_NOFOLLOW : 0) == 0) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "utimensat", path, "set times of %s", path);
}

static napi_value js_pipe(napi_env env, napi_callback_info info) {
  int fds[2], size;
  napi_value v[1], result;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "sizeBytes", &size)) return NULL;
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  if (pipe2(fds, O_CLOEXEC) != 0) {
    int err = errno;
    return throw_errno(env, err, "pipe2", NULL, "make a pipe");
  }
  /* It works with any size, and there may be a limit for all of a user's pipes (pipe(7)). */
  if (size > 0) (void)fcntl(fds[1], F_SETPIPE_SZ, size);
  set_property(env, result, "readFd", js_number(env, fds[0]));
  set_property(env, result, "writeFd", js_number(env, fds[1]));
  return result;
}

/* duplicate(fd) -> another fd of the same open file, close-on-exec */
static napi_value js_duplicate(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy >= 0) return js_number(env, copy);
  int err = errno;
  return throw_errno(env, err, "fcntl", NULL, "duplicate fd %d", fd);
}

/* For fds that do not come from fs.openSync: fs.closeSync would warn of them in a worker. */
static napi_value js_close(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  if (close(fd) == 0 || errno == EINTR) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "close", NULL, "close fd %d", fd);
}

static napi_value js_mkfifo(napi_env env, napi_callback_info info) {
  napi_value v[2];
  AUTO_STRING path = NULL;
  int mode;
  if (!args_read(env, info, 2, v) || !arg_string(env, v[0], "path", &path) || !arg_int(env, v[1], "mode", &mode))
    return NULL;
  /* chmod undoes the umask: a FIFO that its peer cannot open is useless. */
  if (mkfifo(path, (mode_t)mode) == 0 && chmod(path, (mode_t)mode) == 0) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "mkfifo", path, "make FIFO %s", path);
}

/* spliceToFile(pipe, file, offset, maxBytes) -> bytes moved, 0 at the end of the pipe, -1 when it is empty now */
static napi_value js_splice_to_file(napi_env env, napi_callback_info info) {
  napi_value v[4];
  int from, to;
  int64_t offset, max;
  ssize_t n;
  if (!args_read(env, info, 4, v) || !arg_int(env, v[0], "pipe", &from) || !arg_int(env, v[1], "file", &to) ||
      !arg_int64(env, v[2], "offset", &offset) || !arg_int64(env, v[3], "maxBytes", &max))
    return NULL;
  loff_t at = offset;
  do n = splice(from, NULL, to, &at, (size_t)max, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return js_number(env, (double)n);
  int err = errno;
  if (err == EAGAIN) return js_number(env, -1);
  return throw_errno(env, err, "splice", NULL, "move bytes from fd %d to fd %d", from, to);
}

struct sync_op {
  struct op op;
  int fd; /* of any file of a file system */
};

static void sync_run(struct op *base) {
  struct sync_op *o = (struct sync_op *)base;
  if (syncfs(o->fd) == 0) return;
  int err = errno;
  failure_set(&base->failure, err, "syncfs", NULL, "sync the file system of fd %d", o->fd);
}

static void sync_destroy(struct op *base) { free(base); }

/* syncfs(fd) -> promise */
static napi_value js_syncfs(napi_env env, napi_callback_info info) {
  napi_value v[1];
  struct sync_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "sync");
  o->op.run = sync_run;
  o->op.destroy = sync_destroy;
  if (args_read(env, info, 1, v) && arg_int(env, v[0], "fd", &o->fd)) return op_start(env, &o->op, true);
  sync_destroy(&o->op);
  return NULL;
}

void init_file(napi_env env, napi_value exports) {
  export_function(env, exports, "statfs", js_statfs);
  export_function(env, exports, "flock", js_flock);
  export_function(env, exports, "lsetxattr", js_lsetxattr);
  export_function(env, exports, "lremovexattr", js_lremovexattr);
  export_function(env, exports, "lgetxattr", js_lgetxattr);
  export_function(env, exports, "llistxattr", js_llistxattr);
  export_function(env, exports, "mknod", js_mknod);
  export_function(env, exports, "utimensat", js_utimensat);
  export_function(env, exports, "pipe", js_pipe);
  export_function(env, exports, "duplicate", js_duplicate);
  export_function(env, exports, "close", js_close);
  export_function(env, exports, "mkfifo", js_mkfifo);
  export_function(env, exports, "spliceToFile", js_splice_to_file);
  export_function(env, exports, "syncfs", js_syncfs);
}
