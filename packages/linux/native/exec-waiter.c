/* Waits for a command that an OCI runtime has started in a container and detached from (`runc exec --detach`).
 *
 *     exec-waiter PID_FILE RUNTIME ARGS...
 *
 * It starts the runtime with its own stdin, stdout and stderr and then closes these, so that they end with the command.
 * The runtime writes the command's pid into PID_FILE and exits; the command, now without a parent, is adopted by this
 * process, a subreaper (prctl(2)), instead of the host's init. It exits as the command does, with its exit code or with
 * 128 and the number of the signal, or as the runtime does when that fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 255

/* Waits for this one process: others that are adopted here pass to init in the end. */
static int code_of(pid_t pid) {
  int status;
  pid_t ended;
  do ended = waitpid(pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended < 0) return FAILED;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* -1 when the text is not a number that a process may have. */
static pid_t pid_in(const char *text) {
  char *end;
  long number = strtol(text, &end, 10);
  return end == text || number < 1 || number > INT_MAX ? -1 : (pid_t)number;
}

static pid_t read_pid(const char *path) {
  char text[24] = {0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  return n <= 0 ? -1 : pid_in(text);
}

static void release_streams(void) {
  int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int stream = 0; stream < 3; stream++)
    if (fd < 0 || dup2(fd, stream) < 0) close(stream);
}

int main(int argc, char **argv) {
  if (argc < 3 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return FAILED;
  pid_t runtime = fork();
  if (runtime < 0) return FAILED;
  if (runtime == 0) {
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    execv(argv[2], argv + 2);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[2], strerror(errno));
    _exit(FAILED);
  }
  release_streams();
  int code = code_of(runtime);
  if (code != 0) return code;
  pid_t command = read_pid(argv[1]);
  return command > 1 ? code_of(command) : FAILED;
}
