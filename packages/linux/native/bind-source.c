/* Makes a bind mount, in a process of its own: a source on a file system whose server is gone blocks whoever looks it up,
 * and no signal ends that.
 *
 *     bind-source PARENT SOURCE TARGET RECURSIVE READONLY PROPAGATION IDMAP
 *
 * The numbers are those of struct bind; IDMAP is empty for none. It ends with 0, or prints "ERRNO SYSCALL STAGE STEP",
 * where STAGE may be "-", and ends with 1. It does not outlive the process PARENT that started it: what it mounts later
 * nobody would know of. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "bind.h"

int main(int argc, char **argv) {
  if (argc != 8 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != atoi(argv[1])) return 2;
  struct bind bind = {
      .source = argv[2],
      .target = argv[3],
      .recursive = atoi(argv[4]) != 0,
      .readonly = atoi(argv[5]),
      .propagation = strtoul(argv[6], NULL, 10),
      .idmap = *argv[7] == '\0' ? NULL : argv[7],
  };
  struct bind_problem problem = {0};
  bind_mount(&bind, &problem);
  if (problem.err == 0) return 0;
  printf("%d %s %s %s", problem.err, problem.syscall, problem.stage == NULL ? "-" : problem.stage, problem.step);
  return 1;
}
