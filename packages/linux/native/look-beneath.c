/* Looks at files beneath a root that somebody else may change meanwhile, in a process of its own: a file on a file
 * system whose server is gone blocks the process that touches it, and no signal ends that.
 *
 *     look-beneath       reads questions from stdin until its end, and answers each on stdout at once
 *
 * A question is fields that each end with a NUL:
 *     look ROOT PATH                   the answer's text is "MODE UID GID SIZE MAJOR MINOR", with the numbers of a device
 *                                      node, and, of a symbolic link, " TARGET"
 *     read ROOT PATH OFFSET LENGTH     the answer's text is empty, and bytes of a regular file follow it
 *     list ROOT PATH                   the same, and a directory's names follow it, each with a NUL
 * An answer is its length (u32, little endian) and that many bytes: "ERRNO TEXT", a NUL, and the bytes.
 *
 * No link is followed in PATH (ELOOP) or at its end, and in ROOT none that the kernel makes up, such as /proc/N/root.
 * PATH may be empty when ROOT itself is meant, which then may be a file. */
#define _GNU_SOURCE
#include "kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { max_fields = 5, max_bytes = 65536 };

struct answer {
  int error;
  char text[PATH_MAX + 128];
  char bytes[max_bytes];
  size_t length;
};

static int open_handle(int at, const char *path, uint64_t flags, uint64_t resolve) {
  return k_openat2(at, path, O_PATH | O_CLOEXEC | flags, resolve);
}

/* A handle of a file; opening one this way does nothing to the file, whatever its kind. */
static int open_beneath(const char *root, const char *path) {
  while (*path == '/') path++;
  int at = open_handle(AT_FDCWD, root, 0, K_RESOLVE_NO_MAGICLINKS);
  if (at < 0 || *path == '\0') return at;
  int found = open_handle(at, path, O_NOFOLLOW, K_RESOLVE_BENEATH | K_RESOLVE_NO_SYMLINKS);
  int err = errno;
  close(at);
  errno = err;
  return found;
}

static void look(int file, struct answer *answer) {
  struct stat found;
  char target[PATH_MAX] = "";
  if (fstat(file, &found) < 0) {
    answer->error = errno;
    return;
  }
  if (S_ISLNK(found.st_mode) && readlinkat(file, "", target, sizeof target - 1) < 0) {
    answer->error = errno;
    return;
  }
  snprintf(answer->text, sizeof answer->text, "%u %u %u %lld %u %u%s%s", found.st_mode, found.st_uid, found.st_gid,
           (long long)found.st_size, major(found.st_rdev), minor(found.st_rdev), S_ISLNK(found.st_mode) ? " " : "",
           target);
}

/* A regular file only: opening a device or a FIFO does something to it. */
static void read_some(int file, const char *offset, const char *length, struct answer *answer) {
  struct stat found;
  char again[64];
  if (fstat(file, &found) < 0 || (!S_ISREG(found.st_mode) && (errno = EINVAL, 1))) {
    answer->error = errno;
    return;
  }
  snprintf(again, sizeof again, "/proc/self/fd/%d", file);
  int readable = open(again, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  unsigned long long want = strtoull(length, NULL, 10);
  ssize_t got = readable < 0 ? -1
                             : pread(readable, answer->bytes, want < max_bytes ? (size_t)want : max_bytes,
                                     (off_t)strtoull(offset, NULL, 10));
  if (got < 0)
    answer->error = errno;
  else
    answer->length = (size_t)got;
  if (readable >= 0) close(readable);
}

static int add_name(const char *name, struct answer *answer) {
  size_t length = strlen(name) + 1;
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return 0;
  if (length > max_bytes - answer->length) return errno = EOVERFLOW, -1;
  memcpy(answer->bytes + answer->length, name, length);
  answer->length += length;
  return 0;
}

static void list(int file, struct answer *answer) {
  int fd = openat(file, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = fd < 0 ? NULL : fdopendir(fd);
  if (entries == NULL) {
    answer->error = errno;
    if (fd >= 0) close(fd);
    return;
  }
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(entries);
    if (entry == NULL || add_name(entry->d_name, answer) < 0) break;
  }
  answer->error = errno;
  if (errno != 0) answer->length = 0;
  closedir(entries);
}

static void answer_to(char *const *fields, struct answer *answer) {
  int file = open_beneath(fields[1], fields[2]);
  if (file < 0) {
    answer->error = errno;
    return;
  }
  if (strcmp(fields[0], "read") == 0)
    read_some(file, fields[3], fields[4], answer);
  else if (strcmp(fields[0], "list") == 0)
    list(file, answer);
  else
    look(file, answer);
  close(file);
}

static int send(const struct answer *answer) {
  char head[sizeof answer->text + 32];
  int head_length = snprintf(head, sizeof head, "%d %s", answer->error, answer->text) + 1;
  uint32_t length = (uint32_t)((size_t)head_length + answer->length);
  unsigned char framed[4] = {length & 255, length >> 8 & 255, length >> 16 & 255, length >> 24};
  fwrite(framed, 1, sizeof framed, stdout);
  fwrite(head, 1, (size_t)head_length, stdout);
  fwrite(answer->bytes, 1, answer->length, stdout);
  return fflush(stdout);
}

/* The number of fields that a question has; 0 for one that is none of ours. */
static int fields_of(const char *question) {
  if (strcmp(question, "read") == 0) return 5;
  return strcmp(question, "look") == 0 || strcmp(question, "list") == 0 ? 3 : 0;
}

int main(void) {
  static struct answer answer;
  char *fields[max_fields] = {0};
  size_t sizes[max_fields] = {0};
  for (int count = 0;;) {
    ssize_t length = getdelim(&fields[count], &sizes[count], '\0', stdin);
    if (length <= 0 || fields[count][length - 1] != '\0') return 0;
    int wanted = fields_of(fields[0]);
    if (wanted == 0) return 1;
    if (++count < wanted) continue;
    count = 0;
    answer.error = 0;
    answer.length = 0;
    answer.text[0] = '\0';
    answer_to(fields, &answer);
    if (send(&answer) != 0) return 1;
  }
}
