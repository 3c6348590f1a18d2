/* Walks directory trees that containers wrote: of any depth, with any names, and changing meanwhile.
 *
 * One walker serves removal and disk usage. It goes from directory to directory by openat2(2), so that it follows no
 * symlink, crosses no mount point, and no path grows too long. At most OPEN_LEVELS directories are open at a time; from
 * deeper down it returns through "..", and checks by device and inode that it is back where it came from. */
#include "keelson.h"
#include "kernel.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#define OPEN_LEVELS 64
#define READ_SIZE (32 * 1024)

struct level {
  int fd; /* -1: closed because of the depth, to be reopened by ".." from below */
  dev_t dev;
  ino_t ino;
  char *names; /* its subdirectories, each with a NUL after it */
  size_t length, capacity, next;
  int retries; /* of removing the next of them */
};

struct inode_set {
  struct {
    dev_t dev;
    ino_t ino;
  } *slots;
  size_t capacity, count;
};

struct tree_op {
  struct op op;
  char *path;
  bool remove; /* else: usage */
  struct level *levels;
  size_t depth, capacity;
  char *buffer;
  uint64_t bytes, inodes;
  struct inode_set linked;
};

static void tree_fail(struct tree_op *o, int err, const char *syscall, const char *name) {
  failure_set(&o->op.failure, err, syscall, o->path, "%s %s%s%s", o->remove ? "remove" : "measure", o->path,
              name != NULL ? ": at …/" : "", name != NULL ? name : "");
}

/* True when it was not in the set. Without memory, a file counts again rather than the walk fail. */
static bool inode_add(struct inode_set *set, dev_t dev, ino_t ino) {
  if (set->count * 2 >= set->capacity) {
    struct inode_set bigger = {.capacity = set->capacity == 0 ? 1024 : set->capacity * 2};
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (bigger.slots == NULL) return true;
    for (size_t i = 0; i < set->capacity; i++)
      if (set->slots[i].ino != 0) inode_add(&bigger, set->slots[i].dev, set->slots[i].ino);
    free(set->slots);
    *set = bigger;
  }
  size_t at = (size_t)((ino ^ (dev << 20)) * 0x9E3779B97F4A7C15ull) & (set->capacity - 1);
  while (set->slots[at].ino != 0) {
    if (set->slots[at].ino == ino && set->slots[at].dev == dev) return false;
    at = (at + 1) & (set->capacity - 1);
  }
  set->slots[at].dev = dev;
  set->slots[at].ino = ino;
  set->count++;
  return true;
}

static int open_directory(int parent, const char *name) {
  int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = k_openat2(parent, name, (uint64_t)flags, K_RESOLVE_NO_XDEV | K_RESOLVE_NO_SYMLINKS | K_RESOLVE_BENEATH);
  if (fd >= 0 || errno != ENOSYS) return fd;
  /* Before Linux 5.6, only its device shows that something is a mount. */
  struct stat above, here;
  fd = openat(parent, name, flags);
  if (fd < 0 || (fstat(parent, &above) == 0 && fstat(fd, &here) == 0 && above.st_dev == here.st_dev)) return fd;
  close(fd);
  errno = EXDEV;
  return -1;
}

static bool keep_name(struct tree_op *o, struct level *l, const char *name) {
  size_t size = strlen(name) + 1;
  if (l->length + size > l->capacity) {
    size_t capacity = (l->capacity + size) * 2;
    char *names = realloc(l->names, capacity);
    if (names == NULL) return tree_fail(o, ENOMEM, "malloc", NULL), false;
    l->names = names;
    l->capacity = capacity;
  }
  memcpy(l->names + l->length, name, size);
  l->length += size;
  return true;
}

static void count(struct tree_op *o, const struct stat *s) {
  if (!S_ISDIR(s->st_mode) && s->st_nlink > 1 && !inode_add(&o->linked, s->st_dev, s->st_ino)) return;
  o->bytes += (uint64_t)s->st_blocks * 512;
  o->inodes++;
}

static void visit(struct tree_op *o, struct level *l, const char *name, unsigned char type) {
  if (type == DT_DIR) {
    keep_name(o, l, name);
  } else if (o->remove) {
    if (unlinkat(l->fd, name, 0) == 0) return;
    int err = errno;
    if (err == EISDIR) keep_name(o, l, name); /* DT_UNKNOWN, or a directory has replaced it */
    else if (err != ENOENT) tree_fail(o, err, "unlinkat", name);
  } else {
    struct stat s;
    if (fstatat(l->fd, name, &s, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0) {
      if (S_ISDIR(s.st_mode)) keep_name(o, l, name);
      else count(o, &s);
      return;
    }
    int err = errno;
    if (err != ENOENT) tree_fail(o, err, "fstatat", name);
  }
}

struct entry {
  uint64_t ino;
  int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

static void read_level(struct tree_op *o, struct level *l) {
  for (;;) {
    long n = syscall(SYS_getdents64, l->fd, o->buffer, READ_SIZE);
    if (n == 0) return;
    if (n < 0) {
      int err = errno;
      if (err != ENOENT) tree_fail(o, err, "getdents64", NULL); /* ENOENT: removed meanwhile */
      return;
    }
    for (long at = 0; at < n;) {
      struct entry *e = (struct entry *)(o->buffer + at);
      if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0) visit(o, l, e->name, e->type);
      at += e->size;
    }
  }
}

/* Takes over fd. */
static bool push(struct tree_op *o, int fd) {
  struct stat s;
  if (o->depth == o->capacity) {
    size_t capacity = o->capacity == 0 ? 64 : o->capacity * 2;
    struct level *levels = realloc(o->levels, capacity * sizeof *levels);
    if (levels == NULL) {
      close(fd);
      return tree_fail(o, ENOMEM, "malloc", NULL), false;
    }
    o->levels = levels;
    o->capacity = capacity;
  }
  if (fstat(fd, &s) != 0) {
    int err = errno;
    close(fd);
    return tree_fail(o, err, "fstat", NULL), false;
  }
  if (o->depth >= OPEN_LEVELS) {
    struct level *above = &o->levels[o->depth - 1];
    close(above->fd);
    above->fd = -1;
  }
  struct level *l = &o->levels[o->depth++];
  memset(l, 0, sizeof *l);
  l->fd = fd;
  l->dev = s.st_dev;
  l->ino = s.st_ino;
  if (!o->remove) count(o, &s);
  read_level(o, l);
  return true;
}

/* Leaves the deepest level. False when the way back is lost. */
static bool pop(struct tree_op *o) {
  struct level *l = &o->levels[--o->depth];
  struct level *above = o->depth > 0 ? &o->levels[o->depth - 1] : NULL;
  bool ok = true;
  if (above != NULL && above->fd < 0 && l->fd >= 0) {
    struct stat s;
    int fd = openat(l->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &s) == 0 && s.st_dev == above->dev && s.st_ino == above->ino) {
      above->fd = fd;
    } else {
      int err = fd < 0 ? errno : ESTALE; /* the directory was moved meanwhile */
      if (fd >= 0) close(fd);
      tree_fail(o, err, "openat", "..");
      ok = false;
    }
  }
  if (l->fd >= 0) close(l->fd);
  free(l->names);
  return ok;
}

static void enter(struct tree_op *o, const char *name) {
  struct level *l = &o->levels[o->depth - 1];
  int fd = open_directory(l->fd, name);
  if (fd >= 0) {
    push(o, fd);
    return;
  }
  int err = errno;
  if (err == ENOENT) return;
  if (o->remove) {
    if (err == EXDEV) tree_fail(o, EBUSY, "openat2", name); /* a mount point, whose content does not belong to the tree */
    else if ((err == ENOTDIR || err == ELOOP) && unlinkat(l->fd, name, 0) == 0) return;
    else tree_fail(o, err, "openat2", name);
  } else if (err != EXDEV && err != ENOTDIR && err != ELOOP) {
    tree_fail(o, err, "openat2", name);
  }
}

static void next_name(struct level *l) {
  l->next += strlen(l->names + l->next) + 1;
  l->retries = 0;
}

/* Removes the next subdirectory of the deepest level, or enters it to empty it first. */
static void remove_next(struct tree_op *o, struct level *l) {
  const char *name = l->names + l->next;
  if (unlinkat(l->fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
    next_name(l);
    return;
  }
  int err = errno;
  bool full = err == ENOTEMPTY || err == EEXIST || err == ENOTDIR;
  /* When something in a directory could not be removed, the directory cannot be either; and one that fills as fast
   * as it is emptied is given up in the end. */
  if (!full || l->retries >= 8 || (l->retries > 0 && o->op.failure.err != 0)) {
    tree_fail(o, err, "unlinkat", name);
    next_name(l);
    return;
  }
  l->retries++;
  size_t depth = o->depth;
  enter(o, name);
  if (o->depth == depth && o->op.failure.err != 0) next_name(&o->levels[depth - 1]);
}

static void walk(struct tree_op *o, int fd) {
  if (!push(o, fd)) return;
  while (o->depth > 0) {
    struct level *l = &o->levels[o->depth - 1];
    if (l->next >= l->length) {
      if (pop(o)) continue;
      while (o->depth > 0) pop(o);
    } else if (o->remove) {
      remove_next(o, l);
    } else {
      const char *name = l->names + l->next;
      next_name(l);
      enter(o, name);
    }
  }
}

static void tree_run(struct op *base) {
  struct tree_op *o = (struct tree_op *)base;
  size_t length = strlen(o->path);
  while (length > 1 && o->path[length - 1] == '/') o->path[--length] = '\0';
  const char *slash = strrchr(o->path, '/');
  const char *name = slash != NULL ? slash + 1 : o->path;
  if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
    tree_fail(o, EINVAL, "openat2", NULL);
    return;
  }
  AUTO_STRING parent_path = slash == NULL ? strdup(".") : strndup(o->path, (size_t)(slash - o->path) + 1);
  o->buffer = malloc(READ_SIZE);
  if (parent_path == NULL || o->buffer == NULL) {
    tree_fail(o, ENOMEM, "malloc", NULL);
    return;
  }
  AUTO_FD parent = open(parent_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0) {
    int err = errno;
    if (!o->remove || err != ENOENT) tree_fail(o, err, "open", NULL);
    return;
  }
  struct stat s;
  if (fstatat(parent, name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
    int err = errno;
    if (!o->remove || err != ENOENT) tree_fail(o, err, "fstatat", NULL);
    return;
  }
  if (!S_ISDIR(s.st_mode)) {
    if (!o->remove) count(o, &s);
    else if (unlinkat(parent, name, 0) != 0 && errno != ENOENT) {
      int err = errno;
      tree_fail(o, err, "unlinkat", NULL);
    }
    return;
  }
  /* Usage may be asked of a mount point; removal of one would empty what is mounted there. */
  int fd = o->remove ? open_directory(parent, name)
                     : openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    int err = errno;
    tree_fail(o, err == EXDEV ? EBUSY : err, "openat2", NULL);
    return;
  }
  walk(o, fd);
  if (o->remove && o->op.failure.err == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
    int err = errno;
    tree_fail(o, err, "unlinkat", NULL);
  }
}

static napi_value tree_result(napi_env env, struct op *base) {
  struct tree_op *o = (struct tree_op *)base;
  napi_value result;
  if (o->remove) return js_undefined(env);
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  set_property(env, result, "bytes", js_number(env, (double)o->bytes));
  set_property(env, result, "inodes", js_number(env, (double)o->inodes));
  return result;
}

static void tree_destroy(struct op *base) {
  struct tree_op *o = (struct tree_op *)base;
  free(o->path);
  free(o->levels);
  free(o->buffer);
  free(o->linked.slots);
  free(o);
}

static napi_value start(napi_env env, napi_callback_info info, bool remove) {
  napi_value v[1];
  struct tree_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "walk a tree");
  o->remove = remove;
  o->op.run = tree_run;
  o->op.result = tree_result;
  o->op.destroy = tree_destroy;
  if (args_read(env, info, 1, v) && arg_string(env, v[0], "path", &o->path))
    return op_start(env, &o->op, wants_promise(env, info));
  tree_destroy(&o->op);
  return NULL;
}

/* removeTree(path) */
static napi_value js_remove_tree(napi_env env, napi_callback_info info) { return start(env, info, true); }
/* diskUsage(path) -> { bytes, inodes } */
static napi_value js_disk_usage(napi_env env, napi_callback_info info) { return start(env, info, false); }

void init_tree(napi_env env, napi_value exports) {
  export_operation(env, exports, "removeTree", js_remove_tree);
  export_operation(env, exports, "diskUsage", js_disk_usage);
}
