/* chroot(2) for one worker thread. */
#include "keelson.h"
#include "kernel.h"

#include <sched.h>

static _Thread_local int saved_root = -1, saved_directory = -1;

static void forget(void) {
  close_fd(&saved_root);
  close_fd(&saved_directory);
  saved_root = saved_directory = -1;
}

static napi_value js_enter_root(napi_env env, napi_callback_info info) {
  napi_value v[1];
  AUTO_STRING path = NULL;
  if (!args_read(env, info, 1, v) || !arg_string(env, v[0], "dir", &path)) return NULL;
  /* All other threads share the file system context of the main thread. */
  if (syscall(SYS_gettid) == getpid())
    return throw_errno(env, EPERM, "chroot", path, "enter root %s on the main thread", path);
  /* Pool threads started by a thread with another root would have that root for ever. */
  if (!pool_is_warm())
    return throw_errno(env, EPERM, "chroot", path, "enter root %s before warmThreadPool() was called", path);
  if (saved_root >= 0) return throw_errno(env, EBUSY, "chroot", path, "enter root %s from within another", path);
  const char *call = "open";
  saved_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  saved_directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (saved_root >= 0 && saved_directory >= 0) {
    call = "unshare";
    if (unshare(CLONE_FS) == 0) {
      call = "chroot";
      if (chroot(path) == 0) {
        call = "chdir";
        if (chdir("/") == 0) return js_undefined(env);
        int err = errno;
        if (fchdir(saved_root) != 0 || chroot(".") != 0 || fchdir(saved_directory) != 0) abort(); /* half in */
        errno = err;
      }
    }
  }
  int err = errno;
  forget();
  return throw_errno(env, err, call, path, "enter root %s", path);
}

static napi_value js_leave_root(napi_env env, napi_callback_info info) {
  (void)info;
  if (saved_root < 0) return js_undefined(env);
  if (fchdir(saved_root) == 0 && chroot(".") == 0 && fchdir(saved_directory) == 0) {
    forget();
    return js_undefined(env);
  }
  int err = errno;
  return throw_errno(env, err, "chroot", NULL, "leave the root of this thread");
}

void init_root(napi_env env, napi_value exports) {
  export_function(env, exports, "enterRoot", js_enter_root);
  export_function(env, exports, "leaveRoot", js_leave_root);
}
