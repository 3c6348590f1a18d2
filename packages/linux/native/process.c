/* pidfds: the one handle on a process that never comes to mean another one (pidfd_open(2)). */
#include "keelson.h"
#include "kernel.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static napi_value js_pidfd_open(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int pid;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "pid", &pid)) return NULL;
  int fd = k_pidfd_open(pid, 0); /* close-on-exec always */
  if (fd >= 0) return js_number(env, fd);
  int err = errno;
  return throw_errno(env, err, "pidfd_open", NULL, "open process %d", pid);
}

/* False when the process is gone. */
static napi_value js_pidfd_send_signal(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int fd, signal;
  if (!args_read(env, info, 2, v) || !arg_int(env, v[0], "pidfd", &fd) || !arg_int(env, v[1], "signal", &signal))
    return NULL;
  if (k_pidfd_send_signal(fd, signal) == 0) return js_bool(env, true);
  int err = errno;
  if (err == ESRCH) return js_bool(env, false);
  return throw_errno(env, err, "pidfd_send_signal", NULL, "send signal %d", signal);
}

static double microseconds(const struct timeval *time) { return (double)time->tv_sec * 1e6 + (double)time->tv_usec; }

/* Reaps a child of ours by its pidfd; null while it runs. */
static napi_value js_wait_pidfd(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "pidfd", &fd)) return NULL;
  siginfo_t status = {0};
  struct rusage usage = {0};
  /* The wrapper hides the system call's fifth argument (waitid(2), C library/kernel differences). */
  long rc;
  do rc = syscall(SYS_waitid, P_PIDFD, fd, &status, WEXITED | WNOHANG, &usage);
  while (rc != 0 && errno == EINTR);
  int err = errno;
  napi_value result = NULL;
  if ((rc != 0 && err == EAGAIN) || (rc == 0 && status.si_pid == 0)) {
    napi_get_null(env, &result);
    return result;
  }
  if (rc != 0) return throw_errno(env, err, "waitid", NULL, "wait for a child process");
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  bool exited = status.si_code == CLD_EXITED;
  set_property(env, result, "code", js_number(env, exited ? status.si_status : -1));
  set_property(env, result, "signal", js_number(env, exited ? 0 : status.si_status));
  set_property(env, result, "cpuUserUs", js_number(env, microseconds(&usage.ru_utime)));
  set_property(env, result, "cpuSystemUs", js_number(env, microseconds(&usage.ru_stime)));
  return result;
}

void init_process(napi_env env, napi_value exports) {
  export_function(env, exports, "pidfdOpen", js_pidfd_open);
  export_function(env, exports, "pidfdSendSignal", js_pidfd_send_signal);
  export_function(env, exports, "waitPidfd", js_wait_pidfd);
}
