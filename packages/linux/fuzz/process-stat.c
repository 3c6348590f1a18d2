/* pod-init.c: the start time in /proc/PID/stat, after a name that may contain anything. */
#include "fuzz.h"

#define main pod_init_main
#include "../native/pod-init.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = string_of(data, size);
  unsigned long long ticks = 1;
  if (start_ticks_in(text, &ticks)) {
    const char *after = strrchr(text, ')');
    int spaces = 0;
    for (const char *at = after; at != NULL && *at != '\0'; at++) spaces += *at == ' ';
    CHECK(after != NULL && spaces >= 20);
  }
  free(text);
  return 0;
}
