/* Gives a file, or a directory with everything in it, an SELinux label, in a process of its own: a file on a file system
 * whose server is gone blocks the process that touches it, and no signal ends that.
 *
 *     relabel-tree PATH LABEL
 *
 * Follows no link: each directory is held open while its entries are labelled, so that nobody who may write there can
 * redirect it. Writes no label that is already right, and leaves alone what is gone meanwhile and file systems without
 * labels. Prints a dot for each 256 files, to show that it goes on. Ends with 0, or prints "ERRNO NAME" and ends with
 * 1. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Whoever may write to a directory can make it as deep as they like; each level takes a file descriptor. */
enum { max_depth = 4096, max_label = 4096, files_per_dot = 256 };

static const char attribute[] = "security.selinux";
static const char *label;
static size_t label_size;

static int fail(const char *name) {
  printf("%d %s", errno, name);
  return -1;
}

static int set_label(const char *path, const char *name) {
  char present[max_label];
  ssize_t size = lgetxattr(path, attribute, present, sizeof present);
  if (size == (ssize_t)label_size && memcmp(present, label, label_size) == 0) return 0;
  if (lsetxattr(path, attribute, label, label_size, 0) == 0 || errno == ENOTSUP || errno == ENOENT) return 0;
  return fail(name);
}

static void show_progress(void) {
  static unsigned files;
  if (++files % files_per_dot != 0) return;
  putchar('.');
  fflush(stdout);
}

static int label_below(int dir, int depth);

static int label_entry(int dir, const struct dirent *entry, int depth) {
  char path[64 + NAME_MAX];
  snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, entry->d_name);
  if (set_label(path, entry->d_name) < 0) return -1;
  show_progress();
  if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) return 0;
  int below = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (below >= 0) return label_below(below, depth);
  return errno == ENOTDIR || errno == ENOENT || errno == ELOOP ? 0 : fail(entry->d_name);
}

/* Takes dir. */
static int label_below(int dir, int depth) {
  DIR *entries = depth < max_depth ? fdopendir(dir) : (errno = ENAMETOOLONG, NULL);
  if (entries == NULL) {
    int result = fail("a directory");
    close(dir);
    return result;
  }
  int result = 0;
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(entries);
    if (entry == NULL) {
      if (errno != 0) result = fail("a directory");
      break;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if ((result = label_entry(dir, entry, depth + 1)) < 0) break;
  }
  closedir(entries);
  return result;
}

static int label_tree(const char *path) {
  if (set_label(path, path) < 0) return -1;
  int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (dir >= 0) return label_below(dir, 0);
  return errno == ENOTDIR || errno == ENOENT || errno == ELOOP ? 0 : fail(path);
}

int main(int argc, char **argv) {
  struct rlimit files;
  if (argc != 3) return 2;
  label = argv[2];
  label_size = strlen(label) + 1;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  return label_tree(argv[1]) == 0 ? 0 : 1;
}
