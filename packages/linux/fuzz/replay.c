/* Gives a fuzz target the files that are named on the command line, without libFuzzer. */
#include <stdio.h>

#include "fuzz.h"

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    FILE *file = fopen(argv[i], "rb");
    char *data = NULL;
    size_t room = 0;
    if (file == NULL) return perror(argv[i]), 1;
    ssize_t length = getdelim(&data, &room, EOF, file);
    fclose(file);
    uint8_t *exact = (uint8_t *)string_of((uint8_t *)data, length < 0 ? 0 : (size_t)length);
    LLVMFuzzerTestOneInput(exact, length < 0 ? 0 : (size_t)length);
    free(exact);
    free(data);
  }
  return 0;
}
