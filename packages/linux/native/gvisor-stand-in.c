/* Stands for a container that runs in a gVisor sandbox, where conmon has no process of its own to wait for.
 *
 *     gvisor-stand-in [RUNSC_ARGUMENT]... create --bundle DIR --pid-file FILE [--console-socket PATH] ID
 *     gvisor-stand-in start DIR
 *     gvisor-stand-in start-sandbox PID RUNSC [ARGUMENT]...
 *
 * The first is what conmon runs as its runtime, with the path of runsc in KEELSON_RUNSC and the sandbox's control socket
 * in KEELSON_SANDBOX_SOCKET. The container's processes are the sandbox's, and that is another conmon's child: runsc
 * writes its pid for every container in it. So the pid of a process of ours goes to FILE. It
 *   - holds conmon's ends of the container's streams, which runsc hands to the sandbox with `start`, not with `create`;
 *   - is in the sandbox's cgroups, where conmon listens for memory kills, and whose killing ends it too;
 *   - starts the container when somebody connects to the socket `start` in the bundle, and answers there with the exit
 *     code of `runsc start` in decimal; what that has to say is in `start.log`;
 *   - ends as the container does, with 128 + n for signal n, and with 137 when the sandbox is gone.
 * The container's end it learns from the sandbox itself: a `runsc wait` would be 20 MB for each container. gVisor does
 * not promise that protocol (one JSON object each way, pkg/urpc), so a sandbox that does not understand gets that one.
 *
 * The second asks such a process for the start, and ends with the code that it answers; with 75 when there is none.
 *
 * The third runs `RUNSC ARGUMENT...` where /proc/sys/net is empty. gVisor before 2025 takes a network namespace for the
 * machine's own when net/core/rmem_default is there, which Linux 6.15 shows in every one. A sandbox that really is in
 * ours is left to runsc's judgement. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLED 137
/* What runsc itself ends with when it cannot do what it was asked. */
#define FAILED 128
/* Of the second way: whoever stood for the container has ended. */
#define ENDED 75

/* No stdio: its buffers would be resident memory for every container. */
static char *put_text(char *to, const char *text) {
  while (*text != '\0') *to++ = *text++;
  return to;
}

static char *put_number(char *to, unsigned number) {
  char digits[12];
  int n = 0;
  do digits[n++] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  while (n > 0) *to++ = digits[--n];
  return to;
}

static _Noreturn void fail(const char *stage, int err) {
  char line[256];
  char *at = put_text(put_text(line, "gvisor-stand-in: "), stage);
  if (err != 0) at = put_text(put_text(at, ": "), strerrordesc_np(err));
  *at++ = '\n';
  if (write(2, line, (size_t)(at - line)) < 0) _exit(FAILED);
  _exit(FAILED);
}

static size_t read_file(const char *path, char *to, size_t room) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t length = 0;
  ssize_t n;
  while (length < room - 1 && (n = read(fd, to + length, room - 1 - length)) > 0) length += (size_t)n;
  close(fd);
  to[length] = '\0';
  return length;
}

static int exit_code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

/* A sun_path is shorter than many a path: the directory is entered, and the name is what is left. */
static int unix_socket(const char *name, bool listens) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(name) >= sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
  strcpy(address.sun_path, name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (listens) unlink(name);
  int done = listens ? bind(fd, (struct sockaddr *)&address, sizeof address) : connect(fd, (struct sockaddr *)&address, sizeof address);
  if (done == 0 && (!listens || listen(fd, 8) == 0)) return fd;
  int err = errno;
  close(fd);
  return errno = err, -1;
}

/* ---- of conmon's command line ---- */

struct call {
  const char *runsc;
  char **args; /* with runsc as the first, up to and without the command */
  int count;
  const char *bundle, *pid_file, *id;
};

static void parse(struct call *call, int argc, char **argv) {
  int command = 1;
  while (command < argc && strcmp(argv[command], "create") != 0) command++;
  if (command == argc) fail("only create is known", 0);
  call->args = argv;
  call->count = command;
  for (int i = command + 1; i + 1 < argc; i++) {
    if (strcmp(argv[i], "--bundle") == 0) call->bundle = argv[i + 1];
    if (strcmp(argv[i], "--pid-file") == 0) call->pid_file = argv[i + 1];
  }
  call->id = argv[argc - 1];
  if (call->bundle == NULL || call->pid_file == NULL) fail("create has no --bundle or --pid-file", 0);
}

/* Starts `runsc ARGUMENT... more...`. Its stdout is `out`, unless that is negative. */
static pid_t spawn_runsc(const struct call *call, char *const *more, int out) {
  char *args[call->count + 16];
  memcpy(args, call->args, (size_t)call->count * sizeof *args);
  int n = call->count;
  while (*more != NULL && n < call->count + 15) args[n++] = *more++;
  args[n] = NULL;
  pid_t pid = fork();
  if (pid != 0) return pid;
  if (out >= 0) dup2(out, 1);
  execv(call->runsc, args);
  fail(call->runsc, errno);
}

static int ended(pid_t pid) {
  int status;
  if (pid < 0) return FAILED;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return FAILED;
  return exit_code_of(status);
}

static void create(const struct call *call, int argc, char **argv) {
  char *args[argc + 1];
  memcpy(args, argv, (size_t)(argc + 1) * sizeof *args);
  for (int i = call->count; i < argc; i++)
    if (args[i] == call->pid_file) args[i] = "sandbox-pid";
  int code = ended(spawn_runsc(call, args + call->count, -1));
  if (code != 0) _exit(code);
}

/* ---- the process that stays ---- */

/* What fails here costs no more than the accounting. */
static void enter_cgroups_of(const char *pid) {
  char path[64], text[8192];
  *put_text(put_text(put_text(path, "/proc/"), pid), "/cgroup") = '\0';
  read_file(path, text, sizeof text);
  for (char *line = text, *end; *line != '\0'; line = end) {
    end = strchrnul(line, '\n');
    if (*end != '\0') *end++ = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL || strlen(line) > 4000) continue;
    *group++ = '\0';
    controllers++;
    if (strncmp(controllers, "name=", 5) == 0) controllers += 5;
    const char *roots[] = {*controllers == '\0' ? "unified" : controllers, ""};
    for (int i = 0; i < (*controllers == '\0' ? 2 : 1); i++) {
      char file[4200];
      *put_text(put_text(put_text(put_text(put_text(file, "/sys/fs/cgroup/"), roots[i]), "/"), group), "/cgroup.procs") = '\0';
      int fd = open(file, O_WRONLY | O_CLOEXEC);
      if (fd < 0) continue;
      if (write(fd, "0", 1) == 1) i = 2;
      close(fd);
    }
  }
}

/* The sandbox's control socket, or -1. */
static int connect_sandbox(const char *path, int home) {
  char dir[4096];
  const char *slash = path == NULL ? NULL : strrchr(path, '/');
  if (slash == NULL || (size_t)(slash - path) >= sizeof dir) return -1;
  memcpy(dir, path, (size_t)(slash - path));
  dir[slash - path] = '\0';
  int fd = chdir(dir) == 0 ? unix_socket(slash + 1, false) : -1;
  if (fchdir(home) != 0) fail("bundle", errno);
  return fd;
}

static void tell(int peer, int code) {
  char answer[16], *end = put_number(answer, (unsigned)code);
  if (send(peer, answer, (size_t)(end - answer), MSG_NOSIGNAL) < 0) { /* who asked has gone; it is started all the same */
  }
  close(peer);
}

/* Returns when the container is started. */
static void serve_start(const struct call *call, int listener, int sandbox) {
  for (;;) {
    /* Nothing is asked there yet, so that it can be read is its end. */
    struct pollfd fds[] = {{.fd = listener, .events = POLLIN}, {.fd = sandbox, .events = POLLIN}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) _exit(KILLED);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0) continue;
    int code = ended(spawn_runsc(call, (char *[]){"--log=start.log", "start", (char *)call->id, NULL}, -1));
    /* Gone before the answer is there: it tells that the container was not started. */
    if (code == 0) unlink("start");
    tell(peer, code);
    if (code != 0) continue;
    /* Who asked again meanwhile, as a daemon does whose predecessor was killed. */
    fcntl(listener, F_SETFL, O_NONBLOCK);
    while ((peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) tell(peer, 0);
    return;
  }
}

/* The number behind a key of a JSON object; -1 without it. */
static long number_of(const char *json, const char *key) {
  const char *at = strstr(json, key);
  if (at == NULL) return -1;
  at += strlen(key);
  while (*at == ' ' || *at == ':') at++;
  char *end;
  long number = strtol(at, &end, 10);
  /* More digits may be on their way. */
  return end == at || *end == '\0' ? -1 : number;
}

/* The exit code by the sandbox's account; -1 when it does not understand. */
static int ask_sandbox(int sandbox, const char *id) {
  char text[4096], *end = put_text(put_text(put_text(text, "{\"method\":\"containerManager.Wait\",\"arg\":\""), id), "\"}");
  if (send(sandbox, text, (size_t)(end - text), MSG_NOSIGNAL) < 0) return KILLED;
  size_t length = 0;
  for (;;) {
    ssize_t n = recv(sandbox, text + length, sizeof text - 1 - length, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return KILLED;
    length += (size_t)n;
    text[length] = '\0';
    long status = number_of(text, "\"result\"");
    if (strstr(text, "\"success\":true") != NULL && status >= 0) return exit_code_of((int)status);
    if (strpbrk(text, "}\n") != NULL || length == sizeof text - 1) return -1;
  }
}

static int ask_runsc(const struct call *call) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return KILLED;
  pid_t pid = spawn_runsc(call, (char *[]){"wait", (char *)call->id, NULL}, fds[1]);
  close(fds[1]);
  char text[4096];
  size_t length = 0;
  ssize_t n;
  while (length < sizeof text - 1 && (n = read(fds[0], text + length, sizeof text - 1 - length)) > 0) length += (size_t)n;
  text[length] = '\0';
  long code = ended(pid) == 0 ? number_of(text, "\"exitStatus\"") : -1;
  return code < 0 || code > 255 ? KILLED : (int)code;
}

static _Noreturn void stay(const struct call *call, int listener, int sandbox) {
  setsid();
  setenv("KEELSON_STAND_IN", "1", 1);
  serve_start(call, listener, sandbox);
  close(listener);
  /* Now the sandbox has the container's streams, and their end is to be seen when it closes them. */
  int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; fd++)
    if (null_fd < 0 || dup2(null_fd, fd) < 0) close(fd);
  int code = sandbox < 0 ? -1 : ask_sandbox(sandbox, call->id);
  _exit(code < 0 ? ask_runsc(call) : code);
}

static _Noreturn void stand_in(int argc, char **argv) {
  struct call call = {.runsc = getenv("KEELSON_RUNSC")};
  const char *sandbox_socket = getenv("KEELSON_SANDBOX_SOCKET");
  if (call.runsc == NULL) fail("KEELSON_RUNSC is not set", 0);
  unsetenv("KEELSON_RUNSC");
  unsetenv("KEELSON_SANDBOX_SOCKET");
  parse(&call, argc, argv);
  umask(0077);
  int home = chdir(call.bundle) == 0 ? open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (home < 0) fail(call.bundle, errno);
  create(&call, argc, argv);
  int listener = unix_socket("start", true);
  if (listener < 0) fail("listen for the start", errno);
  int sandbox = connect_sandbox(sandbox_socket, home);
  char sandbox_pid[16];
  if (read_file("sandbox-pid", sandbox_pid, sizeof sandbox_pid) == 0) fail("runsc has not told the sandbox's pid", 0);
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) fail("pipe", errno);
  int pid = fork();
  if (pid < 0) fail("fork", errno);
  if (pid == 0) {
    enter_cgroups_of(sandbox_pid);
    close(ready[0]);
    close(ready[1]);
    stay(&call, listener, sandbox);
  }
  /* conmon is to find it in those cgroups. */
  close(ready[1]);
  char text[16], *end = put_number(text, (unsigned)pid);
  if (read(ready[0], text + 15, 1) < 0) fail("pipe", errno);
  int fd = open(call.pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, text, (size_t)(end - text)) < 0) {
    int err = errno;
    kill(pid, SIGKILL);
    fail(call.pid_file, err);
  }
  _exit(0);
}

/* ---- the two others ---- */

static _Noreturn void start(const char *bundle) {
  if (chdir(bundle) != 0) fail(bundle, errno);
  int fd = unix_socket("start", false);
  if (fd < 0) _exit(ENDED);
  char answer[16];
  ssize_t n;
  size_t length = 0;
  while (length < sizeof answer - 1 && (n = read(fd, answer + length, sizeof answer - 1 - length)) > 0) length += (size_t)n;
  answer[length] = '\0';
  if (length == 0) _exit(ENDED);
  _exit(atoi(answer));
}

static _Noreturn void start_sandbox(const char *pid, char **command) {
  char path[64];
  *put_text(put_text(put_text(path, "/proc/"), pid), "/ns/net") = '\0';
  struct stat theirs, ours;
  if (strlen(pid) > 16 || stat(path, &theirs) != 0 || stat("/proc/self/ns/net", &ours) != 0) fail("the sandbox has ended", 0);
  if (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev) {
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail("mount namespace", errno);
    if (mount("keelson", "/proc/sys/net", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2") != 0) fail("cover /proc/sys/net", errno);
  }
  execv(command[0], command);
  fail(command[0], errno);
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "start") == 0) start(argv[2]);
  if (argc >= 4 && strcmp(argv[1], "start-sandbox") == 0) start_sandbox(argv[2], argv + 3);
  stand_in(argc, argv);
}
