/* What the fuzz targets share. Each includes the C file whose static functions it calls; scripts/fuzz.ts runs them. */
#ifndef KEELSON_FUZZ_H
#define KEELSON_FUZZ_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
  do { \
    if (!(condition)) __builtin_trap(); \
  } while (0)

/* The input as a string, in memory of just its size: AddressSanitizer sees a step beyond its end. */
static inline char *string_of(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1);
  CHECK(text != NULL);
  if (size > 0) memcpy(text, data, size);
  text[size] = '\0';
  return text;
}

/* The input cut at its NULs, up to `most` strings and NULL behind them. Returns how many there are. */
static inline int strings_of(const uint8_t *data, size_t size, char **strings, int most) {
  int count = 0;
  for (size_t at = 0; at < size && count < most; count++) {
    size_t length = strnlen((const char *)data + at, size - at);
    strings[count] = string_of(data + at, length);
    at += length + 1;
  }
  strings[count] = NULL;
  return count;
}

static inline void free_all(char **strings) {
  for (char **each = strings; *each != NULL; each++) free(*each);
}

#endif
