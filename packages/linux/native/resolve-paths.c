/* Finds out where paths lead, in a process of its own: a path on a network file system whose server is gone blocks
 * the process that looks it up, and no signal ends that.
 *
 *     resolve-paths [MODE]       reads paths from stdin, each with a NUL after it; with MODE, in octal, it makes what is
 *                                missing as directories of that mode
 *
 * For each it prints to stdout, also with a NUL after it: "0 d PATH", with the path free of links, for a directory
 * and "0 - PATH" for anything else; or "ERRNO resolve"; or "ERRNO make" when a missing one could not be made. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* mkdir -p of an absolute path. What exists, even a file, is no error here: the lookup that follows sees it. */
static int make_directories(char *path, mode_t mode) {
  if (path[0] != '/') return errno = ENOENT, -1;
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

static void answer_all(FILE *questions, const char *mode) {
  char *path = NULL;
  size_t size = 0;
  ssize_t length;
  /* Without its NUL the last one is only the start of a path, from a client that was killed: nothing must be made
   * there. */
  while ((length = getdelim(&path, &size, '\0', questions)) > 0 && path[length - 1] == '\0') {
    answer(path, mode);
    putchar('\0');
  }
  free(path);
}

int main(int argc, char **argv) {
  answer_all(stdin, argc > 1 ? argv[1] : NULL);
  return fflush(stdout) == 0 ? 0 : 1;
}
