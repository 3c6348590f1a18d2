/* gvisor-stand-in.c: conmon's command line, and the request that is made of the container's id. */
#include "fuzz.h"

#define main stand_in_main
#include "../native/gvisor-stand-in.c"

static bool is_one_of(const char *argument, char **argv) {
  for (char **each = argv; *each != NULL; each++)
    if (*each == argument) return true;
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *argv[65];
  int argc = strings_of(data, size, argv, 64);
  struct call call = {.runsc = "runsc"};
  if (argc > 0 && parse(&call, argc, argv) == NULL) {
    CHECK(is_one_of(call.bundle, argv) && is_one_of(call.pid_file, argv) && is_one_of(call.id, argv));
    CHECK(call.args == argv && call.count >= 1 && call.count < argc && strcmp(argv[call.count], "create") == 0);
  }
  free_all(argv);
  return 0;
}
