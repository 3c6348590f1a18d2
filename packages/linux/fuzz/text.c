/* text.h: strings and numbers, put into an array that is too small for some. */
#include "fuzz.h"

#include <stdio.h>

#include "../native/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *strings[65];
  if (size < 9) return 0;
  size_t room = 1 + data[0];
  unsigned long long number;
  memcpy(&number, data + 1, sizeof number);
  int count = strings_of(data + 9, size - 9, strings, 64);
  char digits[32], *array = malloc(room), *whole = malloc(size + sizeof digits);
  CHECK(array != NULL && whole != NULL);
  struct text text = text_in(array, room);
  *whole = '\0';
  for (int i = 0; i < count; i++) {
    put(&text, strings[i]);
    strcat(whole, strings[i]);
  }
  put_number(&text, number);
  snprintf(digits, sizeof digits, "%llu", number);
  strcat(whole, digits);
  CHECK(text_length(&text) == strlen(array) && text_length(&text) < room);
  CHECK(text.is_cut == (strlen(whole) >= room));
  CHECK(text.is_cut || strcmp(array, whole) == 0);
  free(array);
  free(whole);
  free_all(strings);
  return 0;
}
