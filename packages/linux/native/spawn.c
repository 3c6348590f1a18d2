/* Starts a program at a cost that does not grow with the daemon's memory: by clone(2) with CLONE_VM | CLONE_VFORK, as
 * posix_spawn(3) does, and with what that lacks: cgroups, and a pidfd from the first moment.
 *
 * The child shares the daemon's memory until execve(2), so it calls only async-signal-safe functions. */
#include "keelson.h"
#include "kernel.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define STACK_SIZE (64 * 1024)

extern char **environ;

struct spawn {
  char *file, *cwd;
  char *oom_score_adj; /* NULL: ours */
  char **argv, **envp, **cgroups; /* cgroups: cgroup.procs files to enter first */
  const char *path;               /* PATH of the child's environment */
  int *fds;                       /* index: fd in the child, value: our fd */
  size_t fd_count;
  bool new_session, takes_terminal;
  volatile int err; /* written by the child in shared memory */
  const char *volatile step;
  const char *volatile culprit;
};

ON_BORROWED_STACK static void child_fail(struct spawn *s, const char *step, const char *culprit) {
  s->err = errno;
  s->step = step;
  s->culprit = culprit;
  _exit(127);
}

/* Takes entries off a PATH until one yields a path of the file that fits; false at the end. */
ON_BORROWED_STACK static bool next_candidate(const char **path, const char *file, char *to, size_t room) {
  size_t file_length = strlen(file);
  while (*path != NULL && **path != '\0') {
    const char *start = *path, *end = strchr(start, ':');
    size_t length = end != NULL ? (size_t)(end - start) : strlen(start);
    *path = end != NULL ? end + 1 : NULL;
    /* An empty entry would mean the working directory, which is not searched here. */
    if (length == 0 || length + 1 + file_length >= room) continue;
    memcpy(to, start, length);
    to[length] = '/';
    memcpy(to + length + 1, file, file_length + 1);
    return true;
  }
  return false;
}

ON_BORROWED_STACK static void child_exec(struct spawn *s) {
  if (strchr(s->file, '/') != NULL) {
    execve(s->file, s->argv, s->envp);
    return;
  }
  char candidate[4096];
  int err = ENOENT;
  for (const char *path = s->path; next_candidate(&path, s->file, candidate, sizeof candidate);) {
    execve(candidate, s->argv, s->envp);
    if (errno != ENOENT && errno != ENOTDIR) err = errno;
  }
  errno = err;
}

ON_BORROWED_STACK static int child_main(void *data) {
  struct spawn *s = data;

  if (s->oom_score_adj != NULL) {
    /* A vfork child has its own score, although it shares our memory until exec (kernel: __set_oom_adj). */
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t length = (ssize_t)strlen(s->oom_score_adj);
    if (fd < 0 || write(fd, s->oom_score_adj, (size_t)length) != length)
      child_fail(s, "set oom_score_adj", s->oom_score_adj);
    close(fd);
  }
  for (char **path = s->cgroups; *path != NULL; path++) {
    int fd = open(*path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) child_fail(s, "join cgroup", *path);
    close(fd);
  }

  /* All signals have been blocked since before the clone, so none of Node's handlers can run in here. */
  struct sigaction default_action;
  memset(&default_action, 0, sizeof default_action);
  default_action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; signal++)
    if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &default_action, NULL);

  if (s->new_session && setsid() < 0) child_fail(s, "setsid", NULL);

  /* First move fds whose number another one needs, then put each in its place. execve closes all that are not in the
   * map, whichever part of the process opened them. */
  int first_free = (int)s->fd_count;
  for (size_t i = 0; i < s->fd_count; i++) {
    if (s->fds[i] >= first_free || s->fds[i] == (int)i) continue;
    int moved = fcntl(s->fds[i], F_DUPFD_CLOEXEC, first_free);
    if (moved < 0) child_fail(s, "map file descriptors", NULL);
    s->fds[i] = moved;
  }
  k_close_range(0, ~0u, K_CLOSE_RANGE_CLOEXEC);
  for (size_t i = 0; i < s->fd_count; i++) {
    int rc = s->fds[i] == (int)i ? fcntl((int)i, F_SETFD, 0) : dup2(s->fds[i], (int)i);
    if (rc < 0) child_fail(s, "map file descriptors", NULL);
  }

  if (s->takes_terminal && ioctl(0, TIOCSCTTY, 0) != 0) child_fail(s, "take the terminal", NULL);
  if (s->cwd != NULL && chdir(s->cwd) != 0) child_fail(s, "chdir", s->cwd);

  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  child_exec(s);
  child_fail(s, "execve", s->file);
  return 0;
}

static const char *path_of(char **envp) {
  for (char **e = envp; *e != NULL; e++)
    if (strncmp(*e, "PATH=", 5) == 0) return *e + 5;
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static napi_value start(napi_env env, struct spawn *s) {
  /* With SIGCHLD ignored the kernel would reap children itself, and their exit codes would be lost. */
  struct sigaction child_action;
  if (sigaction(SIGCHLD, NULL, &child_action) == 0 && child_action.sa_handler == SIG_IGN) {
    child_action.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &child_action, NULL);
  }
  char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) {
    int err = errno;
    return throw_errno(env, err, "mmap", NULL, "spawn %s", s->file);
  }
  sigset_t all, before;
  int pidfd = -1;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &before);
  int pid = clone(child_main, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, s, &pidfd);
  int err = errno;
  sigprocmask(SIG_SETMASK, &before, NULL);
  munmap(stack, STACK_SIZE);
  if (pid < 0) return throw_errno(env, err, "clone", NULL, "spawn %s", s->file);
  if (s->err != 0) {
    siginfo_t unused;
    waitid(P_PID, (id_t)pid, &unused, WEXITED); /* it has already called _exit */
    close(pidfd);
    const char *culprit = s->culprit;
    bool is_exec = s->step[0] == 'e';
    return throw_errno(env, s->err, s->step, culprit, is_exec ? "spawn %s" : "spawn %s: %s%s%s", s->file, s->step,
                       culprit != NULL ? " " : "", culprit != NULL ? culprit : "");
  }
  napi_value result;
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  set_property(env, result, "pid", js_number(env, pid));
  set_property(env, result, "pidfd", js_number(env, pidfd));
  return result;
}

/* spawn({ file, argv, env, cwd, fds: Int32Array, newSession, cgroupProcs, oomScoreAdj, takesTerminal }) */
static napi_value js_spawn(napi_env env, napi_callback_info info) {
  napi_value call;
  AUTO_STRING file = NULL;
  AUTO_STRING cwd = NULL;
  AUTO_STRING oom_score_adj = NULL;
  AUTO_STRINGS argv = NULL;
  AUTO_STRINGS envp = NULL;
  AUTO_STRINGS cgroups = NULL;
  struct spawn s = {0};
  if (!args_read(env, info, 1, &call) || !property_string(env, call, "file", &file) ||
      !property_strings(env, call, "argv", &argv) || !property_strings(env, call, "env", &envp) ||
      !property_optional_string(env, call, "cwd", &cwd) ||
      !property_bool(env, call, "newSession", &s.new_session) ||
      !property_strings(env, call, "cgroupProcs", &cgroups) ||
      !property_optional_string(env, call, "oomScoreAdj", &oom_score_adj) ||
      !property_bool(env, call, "takesTerminal", &s.takes_terminal) ||
      !property_ints(env, call, "fds", &s.fds, &s.fd_count))
    return NULL;
  s.file = file;
  s.cwd = cwd;
  s.argv = argv;
  s.envp = envp;
  s.cgroups = cgroups;
  s.oom_score_adj = oom_score_adj;
  s.path = path_of(envp);
  napi_value result = start(env, &s);
  free(s.fds);
  return result;
}

void init_spawn(napi_env env, napi_value exports) { export_function(env, exports, "spawn", js_spawn); }
