/* Waits for a command that an OCI runtime has started in a container and left to itself (`runc exec --detach`).
 *
 *     exec-waiter PID_FILE RUNTIME ARGS...
 *
 * Starts the runtime with its own stdin, stdout and stderr, which it then lets go of, so that they end with the
 * command. The runtime writes the command's number into PID_FILE and ends; the command, whose parent is gone, comes to
 * this process, a subreaper (prctl(2)), and not to the machine's init. Ends as the command does: with its exit code, or
 * 128 and the number of the signal; as the runtime does when that fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 255

/* Of one process alone: others that come here are left to init. */
static int code_of(pid_t pid) {
  int status;
  pid_t ended;
  do ended = waitpid(pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended < 0) return FAILED;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t read_pid(const char *path) {
  char text[24] = {0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) return -1;
  close(fd);
  return (pid_t)strtol(text, NULL, 10);
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
