/* What ordinary programs do with threads, processes, memory and timers: prints "ok". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_done = PTHREAD_COND_INITIALIZER;
static int done;

#define MUST(what) do { if (!(what)) { perror(#what); exit(1); } } while (0)

static void *work(void *arg) {
  void *memory = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(memory != MAP_FAILED && madvise(memory, 1 << 20, MADV_DONTNEED) == 0 && munmap(memory, 1 << 20) == 0);
  cpu_set_t cpus;
  MUST(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && sched_setaffinity(0, sizeof cpus, &cpus) == 0);
  pthread_mutex_lock(&mutex);
  done++;
  pthread_cond_signal(&all_done);
  pthread_mutex_unlock(&mutex);
  return arg;
}

int main(void) {
  enum { count = 64 };
  pthread_t threads[count];
  for (int i = 0; i < count; i++) MUST(pthread_create(&threads[i], 0, work, 0) == 0);
  pthread_mutex_lock(&mutex);
  while (done < count) pthread_cond_wait(&all_done, &mutex);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < count; i++) MUST(pthread_join(threads[i], 0) == 0);

  pid_t child = fork();
  if (child == 0) execl("/bin/true", "true", (char *)0);
  int status;
  MUST(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  MUST(system("true") == 0);

  sem_t sem;
  MUST(sem_init(&sem, 1, 1) == 0 && sem_wait(&sem) == 0);
  int shm = shm_open("/threads-test", O_CREAT | O_RDWR, 0600);
  MUST(shm >= 0 && ftruncate(shm, 4096) == 0 && shm_unlink("/threads-test") == 0);
  int segment = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
  MUST(segment >= 0 && shmctl(segment, IPC_RMID, 0) == 0);
  mqd_t queue = mq_open("/threads-test", O_CREAT | O_RDWR, 0600, 0);
  MUST(queue >= 0 && mq_unlink("/threads-test") == 0);

  struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
  int timer = timerfd_create(CLOCK_MONOTONIC, 0), poll = epoll_create1(0), event = eventfd(1, 0), watch = inotify_init1(0);
  struct epoll_event ready = {.events = EPOLLIN};
  MUST(timer >= 0 && poll >= 0 && event >= 0 && watch >= 0 && timerfd_settime(timer, 0, &soon, 0) == 0);
  MUST(epoll_ctl(poll, EPOLL_CTL_ADD, timer, &ready) == 0 && epoll_wait(poll, &ready, 1, 5000) == 1);
  MUST(inotify_add_watch(watch, "/tmp", IN_CREATE) >= 0);
  sigset_t signals;
  sigemptyset(&signals);
  MUST(signalfd(-1, &signals, 0) >= 0);
  timer_t posix_timer;
  MUST(timer_create(CLOCK_REALTIME, 0, &posix_timer) == 0);

  int file = memfd_create("threads-test", 0);
  MUST(file >= 0 && fallocate(file, 0, 0, 4096) == 0);
  struct rlimit limit;
  MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0);
  MUST(setpriority(PRIO_PROCESS, 0, 5) == 0);
  struct timespec time;
  MUST(clock_gettime(CLOCK_BOOTTIME, &time) == 0 && clock_getres(CLOCK_REALTIME, &time) == 0);
  char buffer[16];
  MUST(getentropy(buffer, sizeof buffer) == 0);
  puts("ok");
  return 0;
}
