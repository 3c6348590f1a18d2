/* exec-waiter.c: the file into which a runtime writes a command's pid. */
#include "fuzz.h"

#define main exec_waiter_main
#include "../native/exec-waiter.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = string_of(data, size);
  pid_t pid = pid_in(text);
  CHECK(pid == -1 || (pid > 0 && (long)pid == strtol(text, NULL, 10)));
  free(text);
  return 0;
}
