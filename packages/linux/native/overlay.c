/* Overlay mounts whose options would not fit into the one page that mount(2) takes.
 *
 * Since Linux 6.7, fsconfig(2) takes layers one by one ("lowerdir+"), each a string of at most 255 bytes; longer
 * ones, and those with characters that overlayfs would unescape, go by fd (since 6.13) or as /proc/self/fd/N
 * (before). Before 6.5 overlayfs has only the kernel's emulation of fsconfig(2) for old file systems, which accepts
 * any parameter and fails at the end. On older kernels it is mount(2), on a private thread whose working directory
 * is the common parent of the layers, or, when even the relative names do not fit, /proc/thread-self/fd, where the
 * name of each layer is the number of its fd. */
#include "keelson.h"
#include "kernel.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

enum method { AUTOMATIC, BY_FSCONFIG, BY_MOUNT, BY_MOUNT_OF_FDS };

struct overlay_op {
  struct op op;
  char *target, *upper, *work;
  char **lower;   /* uppermost first */
  char **options; /* "volatile", "index=off" */
  bool readonly;
  int method;
};

static void overlay_fail(struct overlay_op *o, int err, const char *syscall, const char *path) {
  failure_set(&o->op.failure, err, syscall, path, "mount overlay on %s%s%s", o->target,
              path == o->target ? "" : ": layer ", path == o->target ? "" : path);
}

/* The message in a line from the kernel ("e overlay: workdir and upperdir must reside under the same mount"). */
static char *message_in(char *line, size_t length) {
  while (length > 0 && line[length - 1] == '\n') length--;
  line[length] = '\0';
  return strdup(length > 2 && line[1] == ' ' ? line + 2 : line);
}

/* What the kernel wrote about a failure, or NULL. */
static char *fs_log(int fs) {
  char line[512];
  ssize_t n = read(fs, line, sizeof line - 1);
  return n <= 0 ? NULL : message_in(line, (size_t)n);
}

static bool is_plain(const char *path) { return strlen(path) < 256 && strpbrk(path, "\\:,") == NULL; }

static int set_layer(int fs, const char *key, const char *path) {
  if (is_plain(path)) return k_fsconfig(fs, K_FSCONFIG_SET_STRING, key, path, 0);
  AUTO_FD fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  if (k_fsconfig(fs, K_FSCONFIG_SET_FD, key, NULL, fd) == 0) return 0;
  if (errno != EINVAL && errno != EBADF) return -1;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return k_fsconfig(fs, K_FSCONFIG_SET_STRING, key, link, 0);
}

static int set_option(int fs, const char *option) {
  const char *equals = strchr(option, '=');
  if (equals == NULL) return k_fsconfig(fs, K_FSCONFIG_SET_FLAG, option, NULL, 0);
  AUTO_STRING key = strndup(option, (size_t)(equals - option));
  if (key == NULL) return -1;
  return k_fsconfig(fs, K_FSCONFIG_SET_STRING, key, equals + 1, 0);
}

/* Whether overlayfs itself checks the parameters of fsconfig(2), and so refuses an unknown one. It is tried once,
 * because that takes half as long as a mount; threads that try at the same time get the same answer. */
static bool checks_parameters(void) {
  enum { UNKNOWN, IT_DOES, IT_DOES_NOT };
  static atomic_int answer = UNKNOWN;
  if (atomic_load(&answer) != UNKNOWN) return atomic_load(&answer) == IT_DOES;
  AUTO_FD fs = k_fsopen("overlay", K_FSOPEN_CLOEXEC);
  if (fs < 0) return true; /* the mount that follows reports why */
  bool is_refused = k_fsconfig(fs, K_FSCONFIG_SET_STRING, "no-such-parameter", "1", 0) != 0;
  atomic_store(&answer, is_refused ? IT_DOES : IT_DOES_NOT);
  return is_refused;
}

/* Returns false when the kernel does not know "lowerdir+", having done nothing. */
static bool overlay_by_fsconfig(struct overlay_op *o) {
  if (o->method == AUTOMATIC && !checks_parameters()) return false;
  AUTO_FD fs = k_fsopen("overlay", K_FSOPEN_CLOEXEC);
  if (fs < 0) {
    int err = errno;
    if (err == ENOSYS) return false;
    overlay_fail(o, err, "fsopen", o->target);
    return true;
  }
  const char *path = o->target;
  int rc = k_fsconfig(fs, K_FSCONFIG_SET_STRING, "source", "overlay", 0);
  for (char **lower = o->lower; rc == 0 && *lower != NULL; lower++) {
    path = *lower;
    rc = set_layer(fs, "lowerdir+", path);
    if (rc != 0 && errno == EINVAL && lower == o->lower && o->method == AUTOMATIC) return false;
  }
  if (rc == 0 && o->upper != NULL) rc = set_layer(fs, "upperdir", path = o->upper);
  if (rc == 0 && o->work != NULL) rc = set_layer(fs, "workdir", path = o->work);
  if (rc == 0) path = o->target;
  for (char **option = o->options; rc == 0 && *option != NULL; option++) rc = set_option(fs, *option);
  if (rc == 0) rc = k_fsconfig(fs, K_FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (rc != 0) {
    int err = errno;
    overlay_fail(o, err, "fsconfig", path);
    o->op.failure.detail = fs_log(fs);
    return true;
  }
  AUTO_FD mount_fd = k_fsmount(fs, K_FSMOUNT_CLOEXEC, o->readonly ? K_MOUNT_ATTR_RDONLY : 0);
  if (mount_fd < 0) {
    int err = errno;
    overlay_fail(o, err, "fsmount", o->target);
    o->op.failure.detail = fs_log(fs);
  } else if (k_move_mount(mount_fd, "", AT_FDCWD, o->target, K_MOVE_MOUNT_F_EMPTY_PATH | K_MOVE_MOUNT_T_SYMLINKS) != 0) {
    int err = errno;
    overlay_fail(o, err, "move_mount", o->target);
  }
  return true;
}

/* How many of the first `length` bytes of a path another one shares, not counting the last byte of the other. */
static size_t shared_length(const char *path, size_t length, const char *other) {
  size_t same = 0;
  while (same < length && other[same] == path[same] && other[same] != '\0' && other[same + 1] != '\0') same++;
  return same;
}

/* Length of the directory part that all layers share, with its slash; it is never all of a layer's path. */
static size_t common_parent(const struct overlay_op *o) {
  const char *first = o->lower[0];
  size_t length = shared_length(first, strlen(first), first);
  for (char **other = o->lower + 1; *other != NULL; other++) length = shared_length(first, length, *other);
  if (o->upper != NULL) length = shared_length(first, length, o->upper);
  if (o->work != NULL) length = shared_length(first, length, o->work);
  while (length > 0 && first[length - 1] != '/') length--;
  return length;
}

static bool all_plain(struct overlay_op *o) {
  for (char **lower = o->lower; *lower != NULL; lower++)
    if (strpbrk(*lower, "\\:,") != NULL) return false;
  return (o->upper == NULL || strpbrk(o->upper, "\\:,") == NULL) &&
         (o->work == NULL || strpbrk(o->work, "\\:,") == NULL);
}

/* The option string, with layers by their fds or by their paths without the first `skip` bytes. NULL when it is longer
 * than a page. */
static char *option_string(struct overlay_op *o, bool by_fd, size_t skip, int *fds) {
  char *text = NULL;
  size_t length = 0, next = 0;
  FILE *out = open_memstream(&text, &length);
  if (out == NULL) return NULL;
  fputs("lowerdir=", out);
  for (char **lower = o->lower; *lower != NULL; lower++) {
    if (lower != o->lower) fputc(':', out);
    if (by_fd) fprintf(out, "%d", fds[next++]);
    else fputs(*lower + skip, out);
  }
  const char *keys[] = {"upperdir", "workdir"}, *paths[] = {o->upper, o->work};
  for (size_t i = 0; i < 2; i++) {
    if (paths[i] == NULL) continue;
    if (by_fd) fprintf(out, ",%s=%d", keys[i], fds[next++]);
    else fprintf(out, ",%s=%s", keys[i], paths[i] + skip);
  }
  for (char **option = o->options; *option != NULL; option++) {
    const char *equals = strchr(*option, '=');
    /* An SELinux label contains commas: mount(2) needs it in quotes, fsconfig(2) does not. */
    if (equals != NULL && strchr(equals, ',') != NULL)
      fprintf(out, ",%.*s=\"%s\"", (int)(equals - *option), *option, equals + 1);
    else fprintf(out, ",%s", *option);
  }
  fclose(out);
  if (text == NULL || length < (size_t)sysconf(_SC_PAGESIZE) - 1) return text;
  free(text);
  return NULL;
}

static void overlay_mount_here(struct overlay_op *o, const char *directory, const char *options) {
  if (unshare(CLONE_FS) != 0) {
    int err = errno;
    overlay_fail(o, err, "unshare", o->target);
  } else if (chdir(directory) != 0) {
    int err = errno;
    overlay_fail(o, err, "chdir", directory);
  } else if (mount("overlay", o->target, "overlay", o->readonly ? MS_RDONLY : 0, options) != 0) {
    int err = errno;
    overlay_fail(o, err, "mount", o->target);
  }
}

static void overlay_by_fds(struct overlay_op *o) {
  size_t count = 0, opened = 0;
  for (char **lower = o->lower; *lower != NULL; lower++) count++;
  int *fds = calloc(count + 2, sizeof *fds);
  if (fds == NULL) {
    overlay_fail(o, ENOMEM, "malloc", o->target);
    return;
  }
  for (size_t i = 0; i < count + 2; i++) {
    const char *path = i < count ? o->lower[i] : (i == count ? o->upper : o->work);
    if (path == NULL) continue;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
      int err = errno;
      overlay_fail(o, err, "open", path);
      break;
    }
    fds[opened++] = fd;
  }
  if (o->op.failure.err == 0) {
    AUTO_STRING options = option_string(o, true, 0, fds);
    if (options == NULL) overlay_fail(o, E2BIG, "mount", o->target);
    else overlay_mount_here(o, "/proc/thread-self/fd", options);
  }
  for (size_t i = 0; i < opened; i++) close(fds[i]);
  free(fds);
}

static void overlay_on_thread(void *data) {
  struct overlay_op *o = data;
  size_t skip = common_parent(o);
  if (o->method != BY_MOUNT_OF_FDS && skip > 0 && all_plain(o)) {
    AUTO_STRING options = option_string(o, false, skip, NULL);
    AUTO_STRING directory = strndup(o->lower[0], skip);
    if (options != NULL && directory != NULL) {
      overlay_mount_here(o, directory, options);
      return;
    }
  }
  overlay_by_fds(o);
}

static void overlay_run(struct op *base) {
  struct overlay_op *o = (struct overlay_op *)base;
  if (o->method <= BY_FSCONFIG && overlay_by_fsconfig(o)) return;
  if (o->method == BY_FSCONFIG) {
    overlay_fail(o, ENOSYS, "fsopen", o->target);
    return;
  }
  int err = on_private_thread(overlay_on_thread, o);
  if (err != 0) overlay_fail(o, err, "pthread_create", o->target);
}

static void overlay_destroy(struct op *base) {
  struct overlay_op *o = (struct overlay_op *)base;
  free(o->target);
  free(o->upper);
  free(o->work);
  free_string_list(o->lower);
  free_string_list(o->options);
  free(o);
}

/* overlay({ target, lowerDirs, upperDir, workDir, options, isReadonly, method }) */
static napi_value js_overlay(napi_env env, napi_callback_info info) {
  napi_value call;
  struct overlay_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "mount overlay");
  o->op.run = overlay_run;
  o->op.destroy = overlay_destroy;
  if (args_read(env, info, 1, &call) && property_string(env, call, "target", &o->target) &&
      property_strings(env, call, "lowerDirs", &o->lower) &&
      property_optional_string(env, call, "upperDir", &o->upper) &&
      property_optional_string(env, call, "workDir", &o->work) &&
      property_strings(env, call, "options", &o->options) &&
      property_bool(env, call, "isReadonly", &o->readonly) && property_int(env, call, "method", &o->method)) {
    if (o->lower[0] != NULL) return op_start(env, &o->op, wants_promise(env, info));
    throw_type(env, "lowerDirs", "a list of at least one directory");
  }
  overlay_destroy(&o->op);
  return NULL;
}

void init_overlay(napi_env env, napi_value exports) { export_operation(env, exports, "overlay", js_overlay); }
