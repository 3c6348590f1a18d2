/* The init of a pod whose containers share one PID namespace.
 *
 *     keelson-pod-init POD_ID          with its settings in the environment and a pipe on fd 3
 *     keelson-pod-init --hold          pid 1 of a container that is a pod's sandbox, set up by the runtime
 *     keelson-pod-init --connect PORT  in such a sandbox, whose network the daemon cannot enter: connects stdin, a
 *                                      socket, to the port
 *
 * It is three processes. The starter (this program as spawned) enters the pod's cgroups, forks the entrant, reports and
 * exits. The entrant joins the pod's namespaces, creates the PID namespace, forks pid 1 into it and exits. That leaves
 * pid 1 a child of the host's init: it does not end with the daemon, and the daemon need not wait for it.
 *
 * The report on fd 3 is one line: "ok PID START_TICKS OOM_SCORE_ADJ" or "error STAGE ERRNO".
 *
 * Pid 1 has no capabilities, uid and gid 65535 (or KEELSON_NOBODY, for a user namespace that lacks 65535), an empty
 * read-only root, no open file, and the pod's id as its command line. Whatever a container of the pod makes it do by
 * ptrace(2), the kernel refuses all but a few calls. It exits on SIGTERM and SIGINT; the kernel then ends everything
 * else in its namespace. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "text.h"

#define REPORT_FD 3
#define NOBODY 65535

extern char **environ;

static void report(const struct text *line) {
  if (write(REPORT_FD, line->start, text_length(line)) < 0) _exit(1);
}

static _Noreturn void fail(const char *stage, int err) {
  char array[128];
  struct text line = text_in(array, sizeof array);
  put(&line, "error ");
  put(&line, stage);
  put(&line, " ");
  put_number(&line, (unsigned long long)err);
  put(&line, "\n");
  report(&line);
  _exit(1);
}

static void join_namespace(const char *path, int kind, const char *stage) {
  if (path == NULL) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, kind) != 0) fail(stage, errno);
  close(fd);
}

static int clamp_oom_score(const char *wanted) {
  /* Without CAP_SYS_RESOURCE it can only be raised (proc_pid_oom_score_adj(5)); otherwise it stays as it is. */
  if (wanted != NULL) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) fail("oom_score_adj", errno);
    if (write(fd, wanted, strlen(wanted)) < 0 && errno != EACCES) fail("oom_score_adj", errno);
    close(fd);
  }
  char text[16] = {0};
  int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, text, sizeof text - 1) < 0) fail("oom_score_adj", errno);
  close(fd);
  return atoi(text);
}

/* "/proc/PID" and what follows: at most 11 digits, and names of ours. */
static void process_path(char path[static 64], int pid, const char *below) {
  struct text text = text_in(path, 64);
  put(&text, "/proc/");
  put_number(&text, (unsigned long long)pid);
  put(&text, below);
}

/* Field 22 of /proc/PID/stat, proc_pid_stat(5); false without it. */
static bool start_ticks_in(const char *stat, unsigned long long *ticks) {
  const char *at = strrchr(stat, ')'); /* the name before it may contain anything */
  for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
  if (at == NULL || at[1] < '0' || at[1] > '9') return false;
  *ticks = strtoull(at + 1, NULL, 10);
  return true;
}

static unsigned long long start_ticks(int pid) {
  char path[64], stat[1024];
  process_path(path, pid, "/stat");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
  if (n < 0) fail("start_ticks", errno);
  close(fd);
  stat[n] = '\0';
  unsigned long long ticks;
  if (!start_ticks_in(stat, &ticks)) fail("start_ticks", EIO);
  return ticks;
}

static void pin(int pid, const char *target) {
  if (target == NULL) return;
  char source[64];
  process_path(source, pid, "/ns/pid");
  int fd = open(target, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  int err = errno;
  if (fd >= 0) {
    close(fd);
    if (mount(source, target, NULL, MS_BIND, NULL) == 0) return;
    err = errno;
    unlink(target);
  }
  kill(pid, SIGKILL);
  fail("pin", err);
}

/* ---- pid 1 ---- */

static void empty_root(void) {
  if (unshare(CLONE_NEWNS) != 0) fail("mount namespace", errno);
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail("private mounts", errno);
  /* pivot_root(2) needs a mount point; /proc is a directory that every host has. */
  if (mount("keelson-pod-init", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
            "size=4k,nr_inodes=2,mode=0555") != 0)
    fail("empty root", errno);
  if (chdir("/proc") != 0) fail("empty root", errno);
  /* This stacks the old root on top of the new one, from where it is unmounted: pivot_root(2), NOTES. */
  if (syscall(SYS_pivot_root, ".", ".") != 0) fail("pivot_root", errno);
  if (umount2(".", MNT_DETACH) != 0) fail("detach host root", errno);
  if (chdir("/") != 0) fail("empty root", errno);
  if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
            "size=4k,nr_inodes=2,mode=0555") != 0)
    fail("read-only root", errno);
}

static void drop_privileges(unsigned nobody) {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
    if (prctl(PR_CAPBSET_DROP, capability) != 0) fail("bounding set", errno);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  /* By number, because the C library's functions would link its threads into this program. */
  if (syscall(SYS_setgroups, 0, NULL) != 0) fail("setgroups", errno);
  if (syscall(SYS_setresgid, nobody, nobody, nobody) != 0) fail("setresgid", errno);
  if (syscall(SYS_setresuid, nobody, nobody, nobody) != 0) fail("setresuid", errno);
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  if (syscall(SYS_capset, &header, none) != 0) fail("capset", errno);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("no_new_privs", errno);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail("dumpable", errno);
}

static void end(int signal) {
  (void)signal;
  _exit(0);
}

static void handle_signals(void) {
  /* A pid 1 gets only the signals that it has a handler for, and SIGKILL from outside (pid_namespaces(7)). */
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = end;
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  /* With SIGCHLD ignored no child becomes a zombie, nor do orphans that pid 1 adopts: the kernel reaps them without
   * waking this process (wait(2), NOTES). */
  action.sa_handler = SIG_IGN;
  action.sa_flags = SA_NOCLDWAIT;
  sigaction(SIGCHLD, &action, NULL);
}

#if defined __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH_* is this?"
#endif
#ifdef SYS_pause
#define WAIT_CALL SYS_pause
#else
#define WAIT_CALL SYS_ppoll
#endif

/* Where the filter goes on by the number of a call, in the order of these instructions: to the next one, or to the
 * last, which permits it. */
#define PERMIT(call, left) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), (left), 0)

/* For whoever can trace pid 1: it runs nothing for them. seccomp(2), with write and close for the report alone. */
static void permit_few_calls(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, 8),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      PERMIT(WAIT_CALL, 7),
      PERMIT(SYS_restart_syscall, 6),
      PERMIT(SYS_rt_sigreturn, 5),
      PERMIT(SYS_exit_group, 4),
      PERMIT(SYS_exit, 3),
      PERMIT(SYS_write, 2),
      PERMIT(SYS_close, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) fail("seccomp", errno);
}

static _Noreturn void be_init(unsigned nobody) {
  if (setsid() < 0) fail("setsid", errno);
  empty_root();
  drop_privileges(nobody);
  umask(0777);

  handle_signals();
  syscall(436 /* close_range */, REPORT_FD + 1u, ~0u, 0u);
  permit_few_calls();
  if (write(REPORT_FD, "ready\n", 6) < 0) _exit(1);
  for (int fd = 0; fd < 16; fd++) close(fd); /* all of them, before Linux 5.9 too */
  for (;;) pause();
}

/* ---- entrant and starter ---- */

/* Sends the starter the pid of pid 1 as the host's PID namespace, which is the starter's, has it. */
static _Noreturn void enter_pod(int to_starter) {
  const char *user = getenv("KEELSON_USERNS");
  join_namespace(getenv("KEELSON_NETNS"), CLONE_NEWNET, "netns");
  join_namespace(getenv("KEELSON_IPCNS"), CLONE_NEWIPC, "ipcns");
  join_namespace(getenv("KEELSON_UTSNS"), CLONE_NEWUTS, "utsns");
  if (user != NULL) {
    join_namespace(user, CLONE_NEWUSER, "userns");
    if (syscall(SYS_setresgid, 0, 0, 0) != 0 || syscall(SYS_setresuid, 0, 0, 0) != 0) fail("userns root", errno);
  }
  if (unshare(CLONE_NEWPID) != 0) fail("pidns", errno);
  int pid = fork();
  if (pid < 0) fail("fork", errno);
  if (pid == 0) {
    close(to_starter);
    const char *nobody = getenv("KEELSON_NOBODY");
    unsigned id = nobody == NULL ? NOBODY : (unsigned)strtoul(nobody, NULL, 10);
    for (char **variable = environ; *variable != NULL; variable++) memset(*variable, 0, strlen(*variable));
    be_init(id);
  }
  if (write(to_starter, &pid, sizeof pid) != sizeof pid) _exit(1);
  _exit(0);
}

/* ---- connections to a port of the sandbox ---- */

/* A server that closes with bytes unread loses what it could not send yet: there is room for that here. */
static int stream_socket(int family) {
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int room = 4 * 1024 * 1024;
  if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  return fd;
}

/* To 127.0.0.1, else to ::1. When neither accepts, the negative errno of the first. */
static int connect_loopback(unsigned short port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int fd = stream_socket(AF_INET);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&v4, sizeof v4) == 0) return fd;
  int err = errno;
  fd = stream_socket(AF_INET6);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&v6, sizeof v6) == 0) return fd;
  return -err;
}

/* Returns true at the end of the input, and false when `to` takes no more. */
static bool copy(int from, int to) {
  static char buffer[65536];
  for (;;) {
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      shutdown(to, SHUT_WR);
      return true;
    }
    for (ssize_t done = 0, m; done < n; done += m) {
      m = send(to, buffer + done, (size_t)(n - done), MSG_NOSIGNAL);
      if (m < 0 && errno == EINTR) m = 0;
      if (m < 0) return false;
    }
  }
}

static _Noreturn void forward(const char *port) {
  int peer = connect_loopback((unsigned short)atoi(port));
  /* The first byte is the outcome. */
  unsigned char answer = (unsigned char)(peer < 0 ? -peer : 0);
  fcntl(0, F_SETFL, fcntl(0, F_GETFL) & ~O_NONBLOCK);
  if (write(0, &answer, 1) != 1 || answer != 0) _exit(1);
  int back = fork();
  if (back < 0) _exit(1);
  if (back == 0) {
    /* The daemon never stops reading alone: it is gone, and nobody waits for either half. */
    if (!copy(peer, 0)) {
      shutdown(0, SHUT_RDWR);
      shutdown(peer, SHUT_RDWR);
    }
    _exit(0);
  }
  /* A port that takes no more may still have something to say. */
  if (!copy(0, peer)) shutdown(0, SHUT_RD);
  waitpid(back, NULL, 0);
  _exit(0);
}

int main(int argc, char **argv) {
  prctl(PR_SET_NAME, "pod-init"); /* a program without a path is named after its fd */
  if (argc == 2 && strcmp(argv[1], "--hold") == 0) {
    handle_signals();
    for (;;) pause();
  }
  if (argc == 3 && strcmp(argv[1], "--connect") == 0) forward(argv[2]);
  for (int signal = 1; signal < 32; signal++)
    if (signal != SIGKILL && signal != SIGSTOP)
      (void)sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);

  const char *oom = getenv("KEELSON_OOM_SCORE_ADJ");
  const char *pin_path = getenv("KEELSON_PIN");
  for (char **variable = environ; *variable != NULL; variable++) {
    if (strncmp(*variable, "KEELSON_CGROUP_", 15) != 0) continue;
    const char *equals = strchr(*variable, '=');
    int fd = equals == NULL ? -1 : open(equals + 1, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) fail("cgroup", errno);
    close(fd);
  }
  int score = clamp_oom_score(oom);

  /* pid 1 writes "ready" or an error into a pipe between us, so that the daemon's gets one report, the starter's. */
  int inner[2], number[2];
  if (pipe2(inner, O_CLOEXEC) != 0 || pipe2(number, O_CLOEXEC) != 0) fail("pipe", errno);
  int entrant = fork();
  if (entrant < 0) fail("fork", errno);
  if (entrant == 0) {
    close(inner[0]);
    close(number[0]);
    if (dup2(inner[1], REPORT_FD) < 0) _exit(1);
    if (inner[1] != REPORT_FD) close(inner[1]);
    enter_pod(number[1]);
  }
  close(inner[1]);
  close(number[1]);
  int pid = 0;
  char answer[128];
  ssize_t length = 0, n;
  bool has_pid = read(number[0], &pid, sizeof pid) == sizeof pid;
  while (length < (ssize_t)sizeof answer && (length == 0 || answer[length - 1] != '\n') &&
         (n = read(inner[0], answer + length, sizeof answer - (size_t)length)) > 0)
    length += n;
  waitpid(entrant, NULL, 0);
  if (!has_pid || length < 5 || memcmp(answer, "ready", 5) != 0) {
    if (has_pid) kill(pid, SIGKILL);
    if (length == 0 || answer[0] != 'e') fail("pid 1", EIO);
    if (write(REPORT_FD, answer, (size_t)length) < 0) _exit(1);
    _exit(1);
  }
  unsigned long long ticks = start_ticks(pid);
  pin(pid, pin_path);
  char array[128];
  struct text line = text_in(array, sizeof array);
  put(&line, "ok ");
  put_number(&line, (unsigned long long)pid);
  put(&line, " ");
  put_number(&line, ticks);
  put(&line, score < 0 ? " -" : " ");
  put_number(&line, (unsigned long long)(score < 0 ? -score : score));
  put(&line, "\n");
  report(&line);
  _exit(0);
}
