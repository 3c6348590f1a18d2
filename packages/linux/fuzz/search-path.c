/* spawn.c: the places where a program is looked for. The file's name, a NUL, and a PATH. */
#include "fuzz.h"

#include "../native/spawn.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *strings[3], candidate[64];
  if (strings_of(data, size, strings, 2) == 2) {
    const char *file = strings[0], *path = strings[1];
    while (next_candidate(&path, file, candidate, sizeof candidate)) {
      size_t length = strlen(candidate), name = strlen(file);
      CHECK(length < sizeof candidate && length > name + 1);
      CHECK(candidate[length - name - 1] == '/' && strcmp(candidate + length - name, file) == 0);
      CHECK(memchr(candidate, ':', length - name) == NULL);
      CHECK(path == NULL || (path > strings[1] && path <= strings[1] + strlen(strings[1])));
    }
  }
  free_all(strings);
  return 0;
}
