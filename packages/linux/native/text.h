/* Text put together in an array of fixed size, for programs without stdio: its buffers would be resident memory in
 * every pod. What has no room is left out, and the text then says so. */
#ifndef KEELSON_TEXT_H
#define KEELSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
  char *start, *at, *end; /* end: the array's last byte, kept for the NUL */
  bool is_cut;
};

/* The array, empty: its size must be 1 or more. */
static inline struct text text_in(char *array, size_t size) {
  *array = '\0';
  return (struct text){array, array, array + size - 1, false};
}

static inline void put(struct text *text, const char *more) {
  for (; *more != '\0'; more++) {
    if (text->at == text->end) {
      text->is_cut = true;
      return;
    }
    *text->at++ = *more;
    *text->at = '\0';
  }
}

static inline void put_number(struct text *text, unsigned long long number) {
  char digits[24], *at = digits + sizeof digits - 1;
  *at = '\0';
  do *--at = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  put(text, at);
}

static inline size_t text_length(const struct text *text) { return (size_t)(text->at - text->start); }

#endif
