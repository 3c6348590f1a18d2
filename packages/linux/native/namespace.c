/* New namespaces, which bind mounts keep alive. unshare(2) is per thread, so everything happens on a thread that
 * ends with the call: neither the main thread nor a thread of libuv's pool ever changes its namespaces. */
#include "keelson.h"
#include "kernel.h"

#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum kind { NET, IPC, UTS, KINDS };

static const struct {
  const char *name;
  int flag;
} kinds[KINDS] = {[NET] = {"net", CLONE_NEWNET}, [IPC] = {"ipc", CLONE_NEWIPC}, [UTS] = {"uts", CLONE_NEWUTS}};

struct namespaces_op {
  struct op op;
  char *pins[KINDS]; /* NULL: none of that kind */
  char *user;        /* pin of a new user namespace that owns the others; NULL: ours does */
  char *uid_map, *gid_map;
  int64_t root_uid; /* the user namespace's root as a uid of the host; -1: none */
  char *hostname;
  char **sysctls; /* path, value, path, value … */
  bool loopback;
};

static void stage_fail(struct namespaces_op *o, const char *stage, int err, const char *syscall, const char *path) {
  if (o->op.failure.err == 0) o->op.failure.stage = stage;
  failure_set(&o->op.failure, err, syscall, path, "create namespaces: %s%s%s", stage, path != NULL ? " " : "",
              path != NULL ? path : "");
}

static void loopback_up(struct namespaces_op *o) {
  AUTO_FD fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "lo"};
  const char *syscall = "socket";
  if (fd >= 0) {
    syscall = "ioctl";
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
      request.ifr_flags |= IFF_UP | IFF_RUNNING;
      if (ioctl(fd, SIOCSIFFLAGS, &request) == 0) return;
    }
  }
  int err = errno;
  stage_fail(o, "loopback", err, syscall, NULL);
}

/* Returns 0 or an errno. */
static int write_file(const char *path, const char *value, const char **call) {
  *call = "open";
  AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno;
  *call = "write";
  size_t length = strlen(value);
  ssize_t n = write(fd, value, length);
  return n == (ssize_t)length ? 0 : n < 0 ? errno : EIO;
}

/* For this thread only: the C library's function changes the whole process. */
static int become(int64_t uid) { return (int)syscall(SYS_setresuid, -1, uid, -1); }

static void write_sysctl(struct namespaces_op *o, const char *path, const char *value) {
  const char *call;
  int err = write_file(path, value, &call);
  /* Since Linux 6.8 only the root of its user namespace, not the host's, can write those of an IPC namespace. */
  if ((err == EACCES || err == EPERM) && o->root_uid > 0 && become(o->root_uid) == 0) {
    err = write_file(path, value, &call);
    if (become(0) != 0) abort();
  }
  if (err != 0) stage_fail(o, "sysctl", err, call, path);
}

/* ---- A user namespace, which a process with several threads can neither create nor enter (user_namespaces(7)) ---- */

/* A process in the new namespaces that does nothing. It shares our memory, as after vfork(2), because copying Node's
 * page tables takes milliseconds; so it only makes system calls. */
ON_BORROWED_STACK static int hold_namespaces(void *parent) {
  syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
  if (syscall(SYS_getppid) != *(long *)parent) return 0;
  for (;;) syscall(SYS_pause);
}

static bool pin_namespace(struct namespaces_op *o, const char *source, const char *pin) {
  /* O_EXCL: an existing file may be another owner's pin. */
  int fd = open(pin, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  if (fd < 0) {
    int err = errno;
    stage_fail(o, "pin", err, "open", pin);
    return false;
  }
  close(fd);
  if (mount(source, pin, NULL, MS_BIND, NULL) == 0) return true;
  int err = errno;
  unlink(pin);
  stage_fail(o, "pin", err, "mount", pin);
  return false;
}

static void unpin_again(const char *pin) {
  umount2(pin, MNT_DETACH | UMOUNT_NOFOLLOW);
  unlink(pin);
}

static void enter_held(struct namespaces_op *o, int holder) {
  char path[64];
  const char *maps[] = {"uid_map", "gid_map"}, *texts[] = {o->uid_map, o->gid_map}, *call;
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "/proc/%d/%s", holder, maps[i]);
    int err = write_file(path, texts[i], &call);
    if (err != 0) return stage_fail(o, maps[i], err, call, path);
  }
  for (int i = 0; i < KINDS; i++) {
    if (o->pins[i] == NULL) continue;
    snprintf(path, sizeof path, "/proc/%d/ns/%s", holder, kinds[i].name);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && setns(fd, kinds[i].flag) == 0) continue;
    int err = errno;
    return stage_fail(o, "enter", err, "setns", path);
  }
  snprintf(path, sizeof path, "/proc/%d/ns/user", holder);
  pin_namespace(o, path, o->user);
}

/* Creates them together with the user namespace, which then owns them, and moves this thread into all but that one. */
static void unshare_with_user(struct namespaces_op *o, int flags) {
  size_t size = 64 * 1024;
  char *stack = malloc(size);
  long parent = getpid();
  if (stack == NULL) return stage_fail(o, "unshare", ENOMEM, "malloc", NULL);
  int holder = clone(hold_namespaces, stack + size, CLONE_VM | CLONE_FILES | CLONE_NEWUSER | flags, &parent);
  if (holder < 0) {
    int err = errno;
    stage_fail(o, "unshare", err, "clone", NULL);
  } else {
    enter_held(o, holder);
    kill(holder, SIGKILL);
    while (waitpid(holder, NULL, __WALL) < 0 && errno == EINTR) continue;
  }
  free(stack);
}

static void namespaces_on_thread(void *data) {
  struct namespaces_op *o = data;
  int flags = 0, made = 0;
  for (int i = 0; i < KINDS; i++)
    if (o->pins[i] != NULL) flags |= kinds[i].flag;
  if (o->user != NULL) {
    unshare_with_user(o, flags);
    if (o->op.failure.err != 0) return;
  } else if (unshare(flags) != 0) {
    int err = errno;
    stage_fail(o, "unshare", err, "unshare", NULL);
    return;
  }
  if (o->hostname != NULL && sethostname(o->hostname, strlen(o->hostname)) != 0) {
    int err = errno;
    stage_fail(o, "hostname", err, "sethostname", NULL);
  }
  if (o->loopback && o->op.failure.err == 0) loopback_up(o);
  for (char **s = o->sysctls; o->op.failure.err == 0 && s[0] != NULL && s[1] != NULL; s += 2)
    write_sysctl(o, s[0], s[1]);
  for (; made < KINDS && o->op.failure.err == 0; made++) {
    if (o->pins[made] == NULL) continue;
    char source[64];
    snprintf(source, sizeof source, "/proc/thread-self/ns/%s", kinds[made].name);
    if (!pin_namespace(o, source, o->pins[made])) break;
  }
  if (o->op.failure.err == 0) return;
  while (made-- > 0)
    if (o->pins[made] != NULL) unpin_again(o->pins[made]);
  if (o->user != NULL) unpin_again(o->user);
}

static void namespaces_run(struct op *base) {
  struct namespaces_op *o = (struct namespaces_op *)base;
  int err = on_private_thread(namespaces_on_thread, o);
  if (err != 0) stage_fail(o, "thread", err, "pthread_create", NULL);
}

static void namespaces_destroy(struct op *base) {
  struct namespaces_op *o = (struct namespaces_op *)base;
  for (int i = 0; i < KINDS; i++) free(o->pins[i]);
  free(o->user);
  free(o->uid_map);
  free(o->gid_map);
  free(o->hostname);
  free_string_list(o->sysctls);
  free(o);
}

/* createNamespaces({ net, ipc, uts, hostname, sysctls, isLoopbackUp, user, uidMap, gidMap, rootUid }) */
static napi_value js_create_namespaces(napi_env env, napi_callback_info info) {
  napi_value call;
  struct namespaces_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "create namespaces");
  o->op.run = namespaces_run;
  o->op.destroy = namespaces_destroy;
  bool is_read = args_read(env, info, 1, &call);
  for (int i = 0; is_read && i < KINDS; i++)
    is_read = property_optional_string(env, call, kinds[i].name, &o->pins[i]);
  if (is_read && property_optional_string(env, call, "hostname", &o->hostname) &&
      property_strings(env, call, "sysctls", &o->sysctls) &&
      property_bool(env, call, "isLoopbackUp", &o->loopback) &&
      property_optional_string(env, call, "user", &o->user) &&
      property_optional_string(env, call, "uidMap", &o->uid_map) &&
      property_optional_string(env, call, "gidMap", &o->gid_map) &&
      property_int64(env, call, "rootUid", &o->root_uid)) {
    /* Written without a namespace of its own, any of these would change the host. */
    if (o->hostname != NULL && o->pins[UTS] == NULL) throw_type(env, "hostname", "given with uts only");
    else if (o->loopback && o->pins[NET] == NULL) throw_type(env, "loopbackUp", "given with net only");
    else if (o->user != NULL && (o->uid_map == NULL || o->gid_map == NULL))
      throw_type(env, "user", "given with its maps");
    else return op_start(env, &o->op, wants_promise(env, info));
  }
  namespaces_destroy(&o->op);
  return NULL;
}

struct sysctls_op {
  struct op op;
  char *net;      /* pin of the network namespace */
  char **sysctls; /* path, value, path, value … */
};

static void sysctls_on_thread(void *data) {
  struct sysctls_op *o = data;
  struct failure *failure = &o->op.failure;
  AUTO_FD fd = open(o->net, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
    int err = errno;
    failure_set(failure, err, fd < 0 ? "open" : "setns", o->net, "enter network namespace %s", o->net);
    return;
  }
  for (char **s = o->sysctls; s[0] != NULL && s[1] != NULL; s += 2) {
    const char *call;
    int err = write_file(s[0], s[1], &call);
    if (err == 0) continue;
    failure_set(failure, err, call, s[0], "set sysctl %s", s[0]);
    return;
  }
}

static void sysctls_run(struct op *base) {
  int err = on_private_thread(sysctls_on_thread, base);
  if (err != 0) failure_set(&base->failure, err, "pthread_create", NULL, "set sysctls");
}

static void sysctls_destroy(struct op *base) {
  struct sysctls_op *o = (struct sysctls_op *)base;
  free(o->net);
  free_string_list(o->sysctls);
  free(o);
}

/* setSysctls({ net, sysctls }) */
static napi_value js_set_sysctls(napi_env env, napi_callback_info info) {
  napi_value call;
  struct sysctls_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "set sysctls");
  o->op.run = sysctls_run;
  o->op.destroy = sysctls_destroy;
  if (args_read(env, info, 1, &call) && property_string(env, call, "net", &o->net) &&
      property_strings(env, call, "sysctls", &o->sysctls))
    return op_start(env, &o->op, wants_promise(env, info));
  sysctls_destroy(&o->op);
  return NULL;
}

struct unpin_op {
  struct op op;
  char *path;
};

static void unpin_run(struct op *base) {
  struct unpin_op *o = (struct unpin_op *)base;
  /* Until EINVAL, when nothing is mounted there any more: a pin may have been mounted twice. */
  for (int i = 0; i < 64; i++) {
    if (umount2(o->path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) continue;
    int err = errno;
    if (err == ENOENT) return;
    if (err == EINVAL) break;
    failure_set(&base->failure, err, "umount2", o->path, "unpin namespace %s", o->path);
    return;
  }
  if (unlink(o->path) == 0) return;
  int err = errno;
  if (err != ENOENT) failure_set(&base->failure, err, "unlink", o->path, "unpin namespace %s", o->path);
}

static void unpin_destroy(struct op *base) {
  struct unpin_op *o = (struct unpin_op *)base;
  free(o->path);
  free(o);
}

/* unpinNamespace(path) */
static napi_value js_unpin(napi_env env, napi_callback_info info) {
  napi_value v[1];
  struct unpin_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "unpin namespace");
  o->op.run = unpin_run;
  o->op.destroy = unpin_destroy;
  if (args_read(env, info, 1, v) && arg_string(env, v[0], "path", &o->path))
    return op_start(env, &o->op, wants_promise(env, info));
  unpin_destroy(&o->op);
  return NULL;
}

void init_namespace(napi_env env, napi_value exports) {
  export_operation(env, exports, "createNamespaces", js_create_namespaces);
  export_operation(env, exports, "setSysctls", js_set_sysctls);
  export_operation(env, exports, "unpinNamespace", js_unpin);
}
