/* resolve-paths.c: the paths on its stdin. Nothing is looked up or made: whether that works depends on the path. */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static size_t answers;
static const char *question; /* its file, as a string */
static size_t question_size;

static unsigned hash(const char *text) {
  unsigned value = 5381;
  for (; *text != '\0'; text++) value = value * 33 + (unsigned char)*text;
  return value >> 3;
}

static char *fuzz_realpath(const char *path, char *resolved) {
  errno = hash(path) % 3 == 0 ? ENOENT : ELOOP;
  if (hash(path) % 3 == 1 && strlen(path) < 4096) return strcpy(resolved, path);
  return NULL;
}

static int fuzz_stat(const char *path, struct stat *found) {
  memset(found, 0, sizeof *found);
  found->st_mode = hash(path) % 2 == 0 ? S_IFDIR : S_IFREG;
  return 0;
}

/* A directory that is made is one on the way to a path that was asked for. */
static int fuzz_mkdir(const char *path, mode_t mode) {
  CHECK(path[0] == '/' && mode == 0755);
  CHECK(memmem(question, question_size, path, strlen(path)) != NULL);
  errno = hash(path) % 5 == 0 ? EACCES : EEXIST;
  return hash(path) % 4 == 0 ? 0 : -1;
}

static int fuzz_putchar(int c) {
  if (c == '\0') answers++;
  return c;
}

#define main resolve_paths_main
#define realpath fuzz_realpath
#define stat(path, found) fuzz_stat(path, found)
#define mkdir fuzz_mkdir
#define putchar fuzz_putchar
#define printf(...) ((void)snprintf((char[5000]){0}, 5000, __VA_ARGS__))
#include "../native/resolve-paths.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0; /* fmemopen(3) refuses it */
  char *text = string_of(data, size);
  question = text;
  question_size = size;
  FILE *file = fmemopen(text, size, "r");
  CHECK(file != NULL);
  size_t ends = 0;
  for (size_t i = 0; i < size; i++) ends += data[i] == '\0';
  answers = 0;
  answer_all(file, "755");
  CHECK(answers == ends);
  fclose(file);
  free(text);
  return 0;
}
