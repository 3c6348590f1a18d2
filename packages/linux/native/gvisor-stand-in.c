/* Stands in for a container that runs in a gVisor sandbox, where conmon has no process of its own to wait for.
 *
 *     gvisor-stand-in [RUNSC_ARGUMENT]... create --bundle DIR --pid-file FILE [--console-socket PATH] ID
 *     gvisor-stand-in start DIR
 *     gvisor-stand-in start-sandbox PID RUNSC [ARGUMENT]...
 *
 * The first form is what conmon runs as its runtime, with the path of runsc in KEELSON_RUNSC and the sandbox's
 * control socket in KEELSON_SANDBOX_SOCKET. The container's processes belong to the sandbox, which is the child of
 * another conmon and whose pid runsc reports for every container in it. So the pid that goes to FILE is that of a
 * process of ours, which
 *   - holds conmon's ends of the container's streams, which runsc passes to the sandbox with `start`, not with `create`;
 *   - is in the sandbox's cgroups, where conmon listens for memory kills, so that killing these ends it too;
 *   - starts the container when a client connects to the socket `start` in the bundle, and answers there with the exit
 *     code of `runsc start` in decimal; runsc's messages are then in `start.log`;
 *   - ends as the container does, with 128 + n for signal n, and with 137 when the sandbox is gone.
 * It asks the sandbox itself for the container's end: a `runsc wait` would take 20 MB for each container. gVisor
 * makes no promise about that protocol (one JSON object each way, pkg/urpc), so `runsc wait` is used with a sandbox
 * that does not understand it.
 *
 * The second form asks such a process to start its container and ends with the code that it answers, or with 75 when
 * there is no such process.
 *
 * The third form runs `RUNSC ARGUMENT...` where /proc/sys/net is empty. gVisor before 2025 takes a network namespace
 * for the host's when it has net/core/rmem_default, which since Linux 6.15 every one has. A sandbox that really is
 * in the host's is left as it is, for runsc to judge. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "text.h"

#define KILLED 137
/* What runsc itself ends with when it cannot do what it was asked to. */
#define FAILED 128
/* Of the second form: the process that stood in for the container has ended. */
#define ENDED 75

static _Noreturn void fail(const char *stage, int err) {
  const char *description = err == 0 ? NULL : strerrordesc_np(err);
  const char *words[] = {"gvisor-stand-in: ", stage, description == NULL ? "" : ": ",
                         description == NULL ? "" : description, "\n"};
  struct iovec parts[sizeof words / sizeof *words];
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    parts[i].iov_base = (void *)words[i];
    parts[i].iov_len = strlen(words[i]);
  }
  if (writev(2, parts, sizeof words / sizeof *words) < 0) _exit(FAILED);
  _exit(FAILED);
}

static size_t read_file(const char *path, char *to, size_t room) {
  *to = '\0';
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

/* Many paths are too long for a sun_path, so the caller enters the directory first and gives the name alone. */
static int unix_socket(const char *name, bool listens) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(name) >= sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
  strcpy(address.sun_path, name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (listens) unlink(name);
  struct sockaddr *to = (struct sockaddr *)&address;
  int done = listens ? bind(fd, to, sizeof address) : connect(fd, to, sizeof address);
  if (done == 0 && (!listens || listen(fd, 8) == 0)) return fd;
  int err = errno;
  close(fd);
  return errno = err, -1;
}

/* ---- conmon's command line ---- */

struct call {
  const char *runsc;
  char **args; /* with runsc as the first, up to and without the command */
  int count;
  const char *bundle, *pid_file, *id;
};

/* Returns what is wrong with it, or NULL. */
static const char *parse(struct call *call, int argc, char **argv) {
  int command = 1;
  while (command < argc && strcmp(argv[command], "create") != 0) command++;
  if (command >= argc) return "only create is known";
  call->args = argv;
  call->count = command;
  for (int i = command + 1; i + 1 < argc; i++) {
    if (strcmp(argv[i], "--bundle") == 0) call->bundle = argv[i + 1];
    if (strcmp(argv[i], "--pid-file") == 0) call->pid_file = argv[i + 1];
  }
  call->id = argv[argc - 1];
  return call->bundle == NULL || call->pid_file == NULL ? "create has no --bundle or --pid-file" : NULL;
}

/* Starts `runsc ARGUMENT... more...`. Its stdout is `out`, unless that is negative. */
static pid_t spawn_runsc(const struct call *call, char *const *more, int out) {
  int count = call->count;
  for (char *const *each = more; *each != NULL; each++) count++;
  char *args[count + 1];
  memcpy(args, call->args, (size_t)call->count * sizeof *args);
  for (int i = call->count; i < count; i++) args[i] = more[i - call->count];
  args[count] = NULL;
  pid_t pid = fork();
  if (pid != 0) return pid;
  if (out >= 0) dup2(out, 1);
  execv(call->runsc, args);
  fail(call->runsc, errno);
}

static int wait_for(pid_t pid) {
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
  int code = wait_for(spawn_runsc(call, args + call->count, -1));
  if (code != 0) _exit(code);
}

/* ---- the process that stays ---- */

/* One line of /proc/PID/cgroup, cgroups(7). */
struct membership {
  const char *controllers; /* "cpu,cpuacct", a named hierarchy's name, or "" for cgroup v2 */
  const char *group;       /* "/kubepods/pod1" */
};

/* Takes lines off the text until one is understood; false at the end. The text is cut up for it. */
static bool next_membership(char **text, struct membership *found) {
  while (**text != '\0') {
    char *line = *text, *end = strchrnul(line, '\n');
    *text = *end == '\0' ? end : end + 1;
    *end = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL) continue;
    *group++ = '\0';
    controllers++;
    if (strncmp(controllers, "name=", 5) == 0) controllers += 5;
    *found = (struct membership){controllers, group};
    return true;
  }
  return false;
}

static bool enter_cgroup(const char *hierarchy, const char *group) {
  char file[4200];
  struct text path = text_in(file, sizeof file);
  put(&path, "/sys/fs/cgroup/");
  put(&path, hierarchy);
  put(&path, "/");
  put(&path, group);
  put(&path, "/cgroup.procs");
  if (path.is_cut) return false;
  int fd = open(file, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool has_entered = write(fd, "0", 1) == 1;
  close(fd);
  return has_entered;
}

/* A failure in here costs no more than the accounting. */
static void enter_cgroups_of(const char *pid) {
  char file[64], content[8192];
  struct text path = text_in(file, sizeof file);
  put(&path, "/proc/");
  put(&path, pid);
  put(&path, "/cgroup");
  if (path.is_cut) return;
  read_file(file, content, sizeof content);
  struct membership found;
  for (char *rest = content; next_membership(&rest, &found);) {
    /* cgroup v2 is mounted beside the v1 hierarchies, or is all there is. */
    if (*found.controllers != '\0') enter_cgroup(found.controllers, found.group);
    else if (!enter_cgroup("unified", found.group)) enter_cgroup("", found.group);
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

static void answer_start(int peer, int code) {
  char digits[16];
  struct text answer = text_in(digits, sizeof digits);
  put_number(&answer, (unsigned)code);
  if (send(peer, digits, text_length(&answer), MSG_NOSIGNAL) < 0) { /* the client has gone; that changes nothing */
  }
  close(peer);
}

/* Returns when the container is started. */
static void serve_start(const struct call *call, int listener, int sandbox) {
  for (;;) {
    /* Nothing has been asked there yet, so it becomes readable only when the sandbox ends. */
    struct pollfd fds[] = {{.fd = listener, .events = POLLIN}, {.fd = sandbox, .events = POLLIN}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) _exit(KILLED);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0) continue;
    int code = wait_for(spawn_runsc(call, (char *[]){"--log=start.log", "start", (char *)call->id, NULL}, -1));
    /* Removed before the answer is given: while it exists, the container was not started. */
    if (code == 0) unlink("start");
    answer_start(peer, code);
    if (code != 0) continue;
    /* Clients that asked again meanwhile, as does a daemon whose predecessor was killed. */
    fcntl(listener, F_SETFL, O_NONBLOCK);
    while ((peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) answer_start(peer, 0);
    return;
  }
}

/* The number behind a key of a JSON object; -1 without one that an int can hold. */
static int number_of(const char *json, const char *key) {
  const char *at = strstr(json, key);
  if (at == NULL) return -1;
  at += strlen(key);
  while (*at == ' ' || *at == ':') at++;
  char *end;
  long number = strtol(at, &end, 10);
  /* At the end of the text, more digits may be on their way. */
  return end == at || *end == '\0' || number < 0 || number > INT_MAX ? -1 : (int)number;
}

enum { INCOMPREHENSIBLE = -1, INCOMPLETE = -2 };

/* The container's exit code by what of the sandbox's answer has come. */
static int code_in_answer(const char *text) {
  int status = number_of(text, "\"result\"");
  if (strstr(text, "\"success\":true") != NULL && status >= 0) return exit_code_of(status);
  return strpbrk(text, "}\n") == NULL ? INCOMPLETE : INCOMPREHENSIBLE;
}

/* Of what `runsc wait` prints. */
static int code_in_wait(const char *text) {
  int code = number_of(text, "\"exitStatus\"");
  return code < 0 || code > 255 ? KILLED : code;
}

/* The container's exit code by the sandbox's account, or INCOMPREHENSIBLE. */
static int ask_sandbox(int sandbox, const char *id) {
  char content[4096];
  struct text request = text_in(content, sizeof content);
  put(&request, "{\"method\":\"containerManager.Wait\",\"arg\":\"");
  put(&request, id);
  put(&request, "\"}");
  if (request.is_cut) return INCOMPREHENSIBLE;
  if (send(sandbox, content, text_length(&request), MSG_NOSIGNAL) < 0) return KILLED;
  size_t length = 0;
  for (;;) {
    ssize_t n = recv(sandbox, content + length, sizeof content - 1 - length, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return KILLED;
    length += (size_t)n;
    content[length] = '\0';
    int code = code_in_answer(content);
    if (code != INCOMPLETE) return code;
    if (length == sizeof content - 1) return INCOMPREHENSIBLE;
  }
}

static int ask_runsc(const struct call *call) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return KILLED;
  pid_t pid = spawn_runsc(call, (char *[]){"wait", (char *)call->id, NULL}, fds[1]);
  close(fds[1]);
  char content[4096];
  size_t length = 0;
  ssize_t n;
  while (length < sizeof content - 1 && (n = read(fds[0], content + length, sizeof content - 1 - length)) > 0)
    length += (size_t)n;
  content[length] = '\0';
  return wait_for(pid) == 0 ? code_in_wait(content) : KILLED;
}

static _Noreturn void stay(const struct call *call, int listener, int sandbox) {
  setsid();
  setenv("KEELSON_STAND_IN", "1", 1);
  serve_start(call, listener, sandbox);
  close(listener);
  /* The sandbox has the container's streams now: let go of them, so that conmon sees their end when it closes them. */
  int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; fd++)
    if (null_fd < 0 || dup2(null_fd, fd) < 0) close(fd);
  int code = sandbox < 0 ? INCOMPREHENSIBLE : ask_sandbox(sandbox, call->id);
  _exit(code < 0 ? ask_runsc(call) : code);
}

static _Noreturn void stand_in(int argc, char **argv) {
  struct call call = {.runsc = getenv("KEELSON_RUNSC")};
  const char *sandbox_socket = getenv("KEELSON_SANDBOX_SOCKET");
  if (call.runsc == NULL) fail("KEELSON_RUNSC is not set", 0);
  unsetenv("KEELSON_RUNSC");
  unsetenv("KEELSON_SANDBOX_SOCKET");
  const char *problem = parse(&call, argc, argv);
  if (problem != NULL) fail(problem, 0);
  umask(0077);
  int home = chdir(call.bundle) == 0 ? open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (home < 0) fail(call.bundle, errno);
  create(&call, argc, argv);
  int listener = unix_socket("start", true);
  if (listener < 0) fail("listen for the start", errno);
  int sandbox = connect_sandbox(sandbox_socket, home);
  char sandbox_pid[16];
  if (read_file("sandbox-pid", sandbox_pid, sizeof sandbox_pid) == 0)
    fail("runsc has not reported the sandbox's pid", 0);
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
  /* conmon must find it in those cgroups: wait until it has closed its end. */
  close(ready[1]);
  char unused, digits[16];
  if (read(ready[0], &unused, 1) < 0) fail("pipe", errno);
  struct text number = text_in(digits, sizeof digits);
  put_number(&number, (unsigned)pid);
  int fd = open(call.pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, digits, text_length(&number)) < 0) {
    int err = errno;
    kill(pid, SIGKILL);
    fail(call.pid_file, err);
  }
  _exit(0);
}

/* ---- the two other forms ---- */

static _Noreturn void start(const char *bundle) {
  if (chdir(bundle) != 0) fail(bundle, errno);
  int fd = unix_socket("start", false);
  if (fd < 0) _exit(ENDED);
  char answer[16];
  ssize_t n;
  size_t length = 0;
  while (length < sizeof answer - 1 && (n = read(fd, answer + length, sizeof answer - 1 - length)) > 0)
    length += (size_t)n;
  answer[length] = '\0';
  if (length == 0) _exit(ENDED);
  _exit(atoi(answer));
}

static _Noreturn void start_sandbox(const char *pid, char **command) {
  char file[64];
  struct text path = text_in(file, sizeof file);
  put(&path, "/proc/");
  put(&path, pid);
  put(&path, "/ns/net");
  struct stat theirs, ours;
  if (path.is_cut || stat(file, &theirs) != 0 || stat("/proc/self/ns/net", &ours) != 0)
    fail("the sandbox has ended", 0);
  if (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev) {
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
      fail("mount namespace", errno);
    if (mount("keelson", "/proc/sys/net", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=2") != 0)
      fail("cover /proc/sys/net", errno);
  }
  execv(command[0], command);
  fail(command[0], errno);
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "start") == 0) start(argv[2]);
  if (argc >= 4 && strcmp(argv[1], "start-sandbox") == 0) start_sandbox(argv[2], argv + 3);
  stand_in(argc, argv);
}
