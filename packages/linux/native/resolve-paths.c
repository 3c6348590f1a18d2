/* Finds out where paths lead, in a process of its own: a path on a network file system whose server is gone holds
 * whoever asks, and no signal ends that.
 *
 *     resolve-paths [MODE]       paths on stdin, each with a NUL after it; what is not there is made as directories of
 *                                MODE, octal, when that is given
 *
 * On stdout for each, also with a NUL after it: "0 d PATH" with the path free of links to a directory and
 * "0 - PATH" to anything else; "ERRNO resolve"; or, of one that was not there, "ERRNO make". */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* mkdir -p: what is there already, even a file, is left to whoever looks next. */
static int make_directories(char *path, mode_t mode) {
  for (char *at = path + 1;; at++) {
    if (*at != '/' && *at != '\0') continue;
    char end = *at;
    *at = '\0';
    int result = mkdir(path, mode);
    *at = end;
    if (result < 0 && errno != EEXIST) return -1;
    if (end == '\0') return 0;
  }
}

static bool find(const char *path) {
  char resolved[PATH_MAX];
  struct stat found;
  if (realpath(path, resolved) == NULL || stat(resolved, &found) != 0) return false;
  printf("0 %c %s", S_ISDIR(found.st_mode) ? 'd' : '-', resolved);
  return true;
}

static void answer(char *path, const char *mode) {
  const char *stage = "resolve";
  if (find(path)) return;
  if (errno == ENOENT && mode != NULL) {
    stage = "make";
    if (make_directories(path, (mode_t)strtoul(mode, NULL, 8)) == 0 && find(path)) return;
  }
  printf("%d %s", errno, stage);
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : NULL;
  char *path = NULL;
  size_t size = 0;
  while (getdelim(&path, &size, '\0', stdin) > 0) {
    answer(path, mode);
    putchar('\0');
  }
  return fflush(stdout) == 0 ? 0 : 1;
}
