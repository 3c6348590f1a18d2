/* Pseudoterminals with both ends here: pty(7), ioctl_tty(2). */
#include "keelson.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static int open_pair(bool is_raw, int *master, int *slave, const char **syscall) {
  int unlock = 0;
  struct termios settings;
  *syscall = "open";
  *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*master < 0) return errno;
  *syscall = "ioctl";
  if (ioctl(*master, TIOCSPTLCK, &unlock) != 0) return errno;
  /* By its master, not by its name: /dev/pts and /dev/ptmx may belong to different instances. */
  *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*slave < 0) return errno;
  *syscall = "tcsetattr";
  if (tcgetattr(*slave, &settings) != 0) return errno;
  if (is_raw) cfmakeraw(&settings);
  if (tcsetattr(*slave, TCSANOW, &settings) != 0) return errno;
  return 0;
}

/* openPty(isRaw) -> { masterFd, slaveFd }; raw: bytes pass unchanged, nothing is echoed */
static napi_value js_open_pty(napi_env env, napi_callback_info info) {
  napi_value v[1];
  bool is_raw;
  if (!args_read(env, info, 1, v) || !arg_bool(env, v[0], "isRaw", &is_raw)) return NULL;
  int master = -1, slave = -1;
  const char *syscall;
  napi_value result;
  int err = open_pair(is_raw, &master, &slave, &syscall);
  if (err == 0 && napi_create_object(env, &result) == napi_ok) {
    set_property(env, result, "masterFd", js_number(env, master));
    set_property(env, result, "slaveFd", js_number(env, slave));
    return result;
  }
  close_fd(&master);
  close_fd(&slave);
  return throw_errno(env, err, syscall, "/dev/ptmx", "open a pseudoterminal");
}

/* resizePty(fd, rows, columns) */
static napi_value js_resize_pty(napi_env env, napi_callback_info info) {
  napi_value v[3];
  int fd, rows, columns;
  if (!args_read(env, info, 3, v) || !arg_int(env, v[0], "fd", &fd) || !arg_int(env, v[1], "rows", &rows) ||
      !arg_int(env, v[2], "columns", &columns))
    return NULL;
  struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  if (ioctl(fd, TIOCSWINSZ, &size) == 0) return js_undefined(env);
  int err = errno;
  return throw_errno(env, err, "ioctl", NULL, "resize a terminal to %dx%d", columns, rows);
}

void init_pty(napi_env env, napi_value exports) {
  export_function(env, exports, "openPty", js_open_pty);
  export_function(env, exports, "resizePty", js_resize_pty);
}
