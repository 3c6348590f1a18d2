/* Sockets that Node cannot create: SOCK_SEQPACKET, and those in another network namespace. */
#include "keelson.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_BUFFER_BYTES (1024 * 1024)
/* Half of this holds bytes, the other half the kernel's own data, socket(7). */
#define RECEIVE_BUFFER_BYTES (4 * 1024 * 1024)

/* connectSeqpacket(dir, name) -> fd, non-blocking */
static napi_value js_connect_seqpacket(napi_env env, napi_callback_info info) {
  napi_value v[2];
  AUTO_STRING dir = NULL;
  AUTO_STRING name = NULL;
  if (!args_read(env, info, 2, v) || !arg_string(env, v[0], "dir", &dir) || !arg_string(env, v[1], "name", &name))
    return NULL;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  AUTO_FD at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (at < 0) {
    int err = errno;
    return throw_errno(env, err, "open", dir, "connect to %s/%s", dir, name);
  }
  /* Through the directory's fd: a path may be longer than the 107 bytes of unix(7). */
  int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", at, name);
  if (length < 0 || (size_t)length >= sizeof address.sun_path)
    return throw_errno(env, ENAMETOOLONG, "connect", dir, "connect to %s/%s", dir, name);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  /* The default holds a dozen packets of 8 KiB. It works with any size. */
  int room = SEND_BUFFER_BYTES;
  if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return js_number(env, fd);
  int err = errno;
  close_fd(&fd);
  return throw_errno(env, err, fd < 0 ? "socket" : "connect", dir, "connect to %s/%s", dir, name);
}

static napi_value socket_pair(napi_env env, int type) {
  int fds[2];
  napi_value result;
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
    int err = errno;
    return throw_errno(env, err, "socketpair", NULL, "make a pair of sockets");
  }
  set_property(env, result, "a", js_number(env, fds[0]));
  set_property(env, result, "b", js_number(env, fds[1]));
  return result;
}

/* streamPair() -> { a, b }, non-blocking */
static napi_value js_stream_pair(napi_env env, napi_callback_info info) {
  (void)info;
  return socket_pair(env, SOCK_STREAM);
}

/* seqpacketPair() -> { a, b }, non-blocking */
static napi_value js_seqpacket_pair(napi_env env, napi_callback_info info) {
  (void)info;
  return socket_pair(env, SOCK_SEQPACKET);
}

/* receivePacket(fd, buffer) -> bytes, 0 at the end, -1 when there is none now */
static napi_value js_receive_packet(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int fd;
  void *data;
  size_t length;
  ssize_t n;
  if (!args_read(env, info, 2, v) || !arg_int(env, v[0], "fd", &fd) || !arg_bytes(env, v[1], "buffer", &data, &length))
    return NULL;
  /* A packet socket whose peer closed with packets unread reports that once, before the packets that had come. */
  bool was_reset = false;
  do n = recv(fd, data, length, 0);
  while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !was_reset && (was_reset = true))));
  if (n >= 0) return js_number(env, (double)n);
  int err = errno;
  if (err == EAGAIN) return js_number(env, -1);
  if (err == ECONNRESET) return js_number(env, 0);
  return throw_errno(env, err, "recv", NULL, "receive from fd %d", fd);
}

/* sendPacket(fd, bytes) -> false when there is no room now */
static napi_value js_send_packet(napi_env env, napi_callback_info info) {
  napi_value v[2];
  int fd;
  void *data;
  size_t length;
  ssize_t n;
  if (!args_read(env, info, 2, v) || !arg_int(env, v[0], "fd", &fd) || !arg_bytes(env, v[1], "bytes", &data, &length))
    return NULL;
  do n = send(fd, data, length, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return js_bool(env, true);
  int err = errno;
  if (err == EAGAIN) return js_bool(env, false);
  return throw_errno(env, err, "send", NULL, "send to fd %d", fd);
}

static napi_value js_shutdown_write(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  if (shutdown(fd, SHUT_WR) == 0) return js_undefined(env);
  int err = errno;
  if (err == ENOTCONN) return js_undefined(env);
  return throw_errno(env, err, "shutdown", NULL, "shut down fd %d", fd);
}

/* listenSocket(dirFd, name) -> fd of a listening stream socket, non-blocking */
static napi_value js_listen_socket(napi_env env, napi_callback_info info) {
  napi_value v[2];
  AUTO_STRING name = NULL;
  int dir;
  if (!args_read(env, info, 2, v) || !arg_int(env, v[0], "dirFd", &dir) || !arg_string(env, v[1], "name", &name))
    return NULL;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir, name);
  if (length < 0 || (size_t)length >= sizeof address.sun_path)
    return throw_errno(env, ENAMETOOLONG, "bind", name, "listen on %s", name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0)
    return js_number(env, fd);
  int err = errno;
  close_fd(&fd);
  return throw_errno(env, err, fd < 0 ? "socket" : "bind", name, "listen on %s", name);
}

/* acceptSocket(fd) -> fd, non-blocking, or -1 when no client has connected */
static napi_value js_accept_socket(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd, peer;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  do peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  while (peer < 0 && errno == EINTR);
  int err = errno;
  if (peer >= 0 || err == EAGAIN || err == ECONNABORTED) return js_number(env, peer);
  return throw_errno(env, err, "accept4", NULL, "accept on fd %d", fd);
}

/* receiveFd(fd) -> the first fd of a message, -1 when there is no message now, -2 at the end or for one without an
 * fd */
static napi_value js_receive_fd(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd, received = -2;
  char data[4096];
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {.iov_base = data, .iov_len = sizeof data};
  /* CMSG_LEN, and not the size with its padding, where a second fd would fit: the kernel drops what has no room. */
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int))};
  ssize_t n;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  do n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  int err = errno;
  if (n < 0 && err == EAGAIN) return js_number(env, -1);
  if (n < 0) return throw_errno(env, err, "recvmsg", NULL, "receive an fd from fd %d", fd);
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
    memcpy(&received, CMSG_DATA(c), sizeof received);
  return js_number(env, received);
}

struct namespace_socket {
  const char *path; /* NULL: our own namespace */
  int family, fd, err;
  const char *syscall;
};

/* With a path it runs on a thread that ends with the call, so that no other changes its namespace, whatever fails. */
static void socket_in_namespace(void *data) {
  struct namespace_socket *s = data;
  if (s->path != NULL) {
    AUTO_FD ns = open(s->path, O_RDONLY | O_CLOEXEC);
    s->syscall = "open";
    if (ns < 0) {
      s->err = errno;
      return;
    }
    s->syscall = "setns";
    if (setns(ns, CLONE_NEWNET) != 0) {
      s->err = errno;
      return;
    }
  }
  s->syscall = "socket";
  s->fd = socket(s->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s->fd < 0) s->err = errno;
  /* A server that closes with bytes unread loses what it could not send yet, tcp(7): with the default room, all but
   * some 64 KiB of its answer. The size of the first window depends on this, so it comes before connect(2). */
  int room = RECEIVE_BUFFER_BYTES;
  if (s->fd >= 0 && setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
    (void)setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
}

/* An IPv4 or IPv6 address as inet_pton(3) reads it, with a port; its length, 0 for anything else. */
static socklen_t parse_address(const char *text, int port, struct sockaddr_storage *out) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  *out = (struct sockaddr_storage){0};
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return sizeof *v6;
  }
  return 0;
}

/* connectAddress(netns | null, address, port) -> { fd, isConnected }; if not yet, it is when fd becomes writable */
static napi_value js_connect_address(napi_env env, napi_callback_info info) {
  napi_value v[3], result;
  AUTO_STRING path = NULL;
  AUTO_STRING text = NULL;
  int port;
  struct sockaddr_storage address;
  if (!args_read(env, info, 3, v) || !arg_optional_string(env, v[0], "netns", &path) ||
      !arg_string(env, v[1], "address", &text) || !arg_int(env, v[2], "port", &port))
    return NULL;
  socklen_t address_length = parse_address(text, port, &address);
  if (address_length == 0) return throw_errno(env, EINVAL, "inet_pton", NULL, "connect to %s port %d", text, port);
  struct namespace_socket s = {.path = path, .family = address.ss_family, .fd = -1, .syscall = "pthread_create"};
  int err = 0;
  if (path == NULL) socket_in_namespace(&s);
  else err = on_private_thread(socket_in_namespace, &s);
  if (err == 0) err = s.err;
  if (err != 0)
    return throw_errno(env, err, s.syscall, path, "open a socket in network namespace %s",
                       path != NULL ? path : "of the host");
  /* A socket belongs to the namespace that it was created in, wherever it is used. */
  err = connect(s.fd, (struct sockaddr *)&address, address_length) == 0 ? 0 : errno;
  /* On the loopback the connection is mostly there at once, though connect(2) does not wait for it. */
  struct pollfd ready = {.fd = s.fd, .events = POLLOUT};
  socklen_t length = sizeof err;
  if (err == EINPROGRESS && poll(&ready, 1, 0) == 1 && getsockopt(s.fd, SOL_SOCKET, SO_ERROR, &err, &length) != 0)
    err = errno;
  if ((err == 0 || err == EINPROGRESS) && napi_create_object(env, &result) == napi_ok) {
    set_property(env, result, "fd", js_number(env, s.fd));
    set_property(env, result, "isConnected", js_bool(env, err == 0));
    return result;
  }
  close_fd(&s.fd);
  return throw_errno(env, err, "connect", NULL, "connect to %s port %d", text, port);
}

/* socketError(fd): the errno with which an asynchronous connect failed, 0 for none */
static napi_value js_socket_error(napi_env env, napi_callback_info info) {
  napi_value v[1];
  int fd, error = 0;
  socklen_t length = sizeof error;
  if (!args_read(env, info, 1, v) || !arg_int(env, v[0], "fd", &fd)) return NULL;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0) return js_number(env, error);
  int err = errno;
  return throw_errno(env, err, "getsockopt", NULL, "ask for the error of fd %d", fd);
}

void init_socket(napi_env env, napi_value exports) {
  export_function(env, exports, "connectSeqpacket", js_connect_seqpacket);
  export_function(env, exports, "streamPair", js_stream_pair);
  export_function(env, exports, "seqpacketPair", js_seqpacket_pair);
  export_function(env, exports, "receivePacket", js_receive_packet);
  export_function(env, exports, "sendPacket", js_send_packet);
  export_function(env, exports, "shutdownWrite", js_shutdown_write);
  export_function(env, exports, "listenSocket", js_listen_socket);
  export_function(env, exports, "acceptSocket", js_accept_socket);
  export_function(env, exports, "receiveFd", js_receive_fd);
  export_function(env, exports, "connectAddress", js_connect_address);
  export_function(env, exports, "socketError", js_socket_error);
}
