/* Finds out where paths lead, in a process of its own: a path on a network file system whose server is gone holds
 * whoever asks, and no signal ends that.
 *
 *     keelson-resolve-paths MODE       paths on stdin, each with a NUL after it; MODE, octal, of directories it makes
 *
 * On stdout for each, also with a NUL after it: "0 PATH" with the path free of links; "ERRNO resolve"; or, of one that
 * was not there, "ERRNO make". */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void answer(char *path, mode_t mode) {
  char resolved[PATH_MAX];
  const char *stage = "resolve";
  if (realpath(path, resolved) != NULL) {
    printf("0 %s", resolved);
    return;
  }
  if (errno == ENOENT && path[0] == '/') {
    stage = "make";
    if (make_directories(path, mode) == 0 && realpath(path, resolved) != NULL) {
      printf("0 %s", resolved);
      return;
    }
  }
  printf("%d %s", errno, stage);
}

int main(int argc, char **argv) {
  mode_t mode = argc > 1 ? (mode_t)strtoul(argv[1], NULL, 8) : 0755;
  char *path = NULL;
  size_t size = 0;
  while (getdelim(&path, &size, '\0', stdin) > 0) {
    answer(path, mode);
    putchar('\0');
  }
  return fflush(stdout) == 0 ? 0 : 1;
}
