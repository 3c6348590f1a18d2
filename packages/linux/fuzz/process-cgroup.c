/* gvisor-stand-in.c: /proc/PID/cgroup, and the files that are opened because of it. */
#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

static int fuzz_open(const char *path, int flags) {
  CHECK((flags & O_WRONLY) != 0);
  CHECK(strncmp(path, "/sys/fs/cgroup/", 15) == 0);
  size_t length = strlen(path);
  CHECK(length < 4200 && strcmp(path + length - 13, "/cgroup.procs") == 0);
  return -1;
}

#define open(path, flags, ...) fuzz_open(path, flags)
#define main stand_in_main
#include "../native/gvisor-stand-in.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = string_of(data, size);
  struct membership found;
  for (char *rest = text; next_membership(&rest, &found);) {
    CHECK(found.controllers > text && found.group > text && found.group <= text + size);
    CHECK(strchr(found.controllers, '\n') == NULL && strchr(found.group, '\n') == NULL);
    CHECK(rest >= found.group && rest <= text + size);
    enter_cgroup(found.controllers, found.group);
  }
  free(text);
  return 0;
}
