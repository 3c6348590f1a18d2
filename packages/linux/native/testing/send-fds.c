/* Sends a message with open files over a unix socket, as a container runtime does: send-fds SOCKET COUNT. Without a
 * file the message has none. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST 8

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  int count = atoi(argv[2]), fds[MOST];
  if (count < 0 || count > MOST) return 2;
  for (int i = 0; i < count; i++) fds[i] = open("/dev/null", O_RDWR);
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof fds)];
  } control = {0};
  struct iovec part = {.iov_base = "terminal", .iov_len = 8};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof *fds);
    memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof *fds);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE((size_t)count * sizeof *fds);
  }
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) return 1;
  return sendmsg(fd, &message, 0) == 8 ? 0 : 1;
}
