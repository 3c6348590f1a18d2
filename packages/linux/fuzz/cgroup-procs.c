/* batch.c: the pids in a cgroup.procs. */
#include "fuzz.h"

#include "../native/batch.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = string_of(data, size);
  long number;
  const char *before = text;
  for (const char *at = text; next_number(&at, &number); before = at) CHECK(at > before && at <= text + size);
  free(text);
  return 0;
}
