/* overlay.c: the options of an overlay made of any paths, and the kernel's message about a failure. */
#include "fuzz.h"

#include "../native/overlay.c"

/* As many names as there are layers, each the end of its path. */
static void check_layers(const struct overlay_op *o, const char *options, size_t skip) {
  const char *at = options + strlen("lowerdir=");
  for (char **lower = o->lower; *lower != NULL; lower++) {
    size_t length = strlen(*lower + skip);
    CHECK(strncmp(at, *lower + skip, length) == 0);
    at += length;
    CHECK(*at == (lower[1] != NULL ? ':' : o->upper != NULL || o->options[0] != NULL ? ',' : '\0'));
    at++;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *strings[33];
  if (size == 0) return 0;
  unsigned layers = 1 + data[0] % 8;
  bool has_upper = (data[0] & 8) != 0;
  char *line = string_of(data + 1, size - 1), *message = message_in(line, size - 1);
  CHECK(message != NULL && strlen(message) <= size - 1);
  free(message);
  free(line);
  int count = strings_of(data + 1, size - 1, strings, 32);
  if ((unsigned)count >= layers + (has_upper ? 2 : 0)) {
    char *lower[9] = {0};
    memcpy(lower, strings, layers * sizeof *lower);
    char **rest = strings + layers;
    struct overlay_op o = {.target = "/t", .lower = lower};
    if (has_upper) {
      o.upper = *rest++;
      o.work = *rest++;
    }
    o.options = rest;
    size_t skip = common_parent(&o);
    for (char **each = o.lower; *each != NULL; each++) CHECK(skip == 0 || strlen(*each) > skip);
    CHECK(skip == 0 || o.upper == NULL || (strlen(o.upper) > skip && strlen(o.work) > skip));
    CHECK(skip == 0 || lower[0][skip - 1] == '/');
    int fds[10] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    char *texts[] = {option_string(&o, false, skip, NULL), option_string(&o, true, 0, fds)};
    for (int i = 0; i < 2; i++) CHECK(texts[i] == NULL || strlen(texts[i]) < (size_t)sysconf(_SC_PAGESIZE));
    if (texts[0] != NULL) check_layers(&o, texts[0], skip);
    free(texts[0]);
    free(texts[1]);
  }
  free_all(strings);
  return 0;
}
