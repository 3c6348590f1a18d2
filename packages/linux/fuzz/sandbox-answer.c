/* gvisor-stand-in.c: what a gVisor sandbox answers when it is asked for a container's end, and what `runsc wait`
 * prints. */
#include "fuzz.h"

#define main stand_in_main
#include "../native/gvisor-stand-in.c"

/* What is understood is a number of the answer's own, and not what an int makes of it. */
static void check_number(const char *json, const char *key) {
  const char *at = strstr(json, key);
  CHECK(at != NULL);
  at += strlen(key);
  while (*at == ' ' || *at == ':') at++;
  errno = 0;
  CHECK(strtoull(at, NULL, 10) <= INT_MAX && errno == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  /* It may come in pieces of any length: what was understood stays understood, but for the digits of a number. */
  int code = INCOMPLETE;
  for (size_t length = 0; length <= size && length < 4096; length++) {
    char *text = string_of(data, length);
    code = code_in_answer(text);
    CHECK(code >= INCOMPLETE && code <= 255);
    if (code >= 0) check_number(text, "\"result\"");
    free(text);
    if (code != INCOMPLETE) break;
  }
  char *text = string_of(data, size);
  code = code_in_wait(text);
  CHECK(code >= 0 && code <= 255);
  free(text);
  return 0;
}
