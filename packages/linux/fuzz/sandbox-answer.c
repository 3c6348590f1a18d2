/* gvisor-stand-in.c: what a gVisor sandbox answers when it is asked for a container's end, and what `runsc wait` prints. */
#include "fuzz.h"

#define main stand_in_main
#include "../native/gvisor-stand-in.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  /* It may come in pieces of any length: what was understood stays understood, but for the digits of a number. */
  int code = INCOMPLETE;
  for (size_t length = 0; length <= size && length < 4096; length++) {
    char *text = string_of(data, length);
    code = code_in_answer(text);
    free(text);
    CHECK(code >= INCOMPLETE && code <= 255);
    if (code != INCOMPLETE) break;
  }
  char *text = string_of(data, size);
  code = code_in_wait(text);
  CHECK(code >= 0 && code <= 255);
  free(text);
  return 0;
}
