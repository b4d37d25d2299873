// A library for LD_PRELOAD that lets the calls fail by which a program writes files: a disk that is full, broken or over
// its quota; and moves the clock of the day. What it does is said in the environment:
//
//   FAULT_AT=N       the N-th of the counted calls fails; 0: none does
//   FAULT_KIND=KIND  once: only that one fails; full: from there on everything that needs room fails, a write only after
//                    half of its bytes, as on a disk without room; kill: the process is killed there
//   FAULT_SLOW=MS    every fsync takes that long
//   FAULT_CALL=NAME  only calls of that function are counted
//   FAULT_ERROR=E    the errno of "once"
//   FAULT_LIST=FILE  the names of the counted calls are written there, one a line
//   FAULT_CLOCK=1    CLOCK_REALTIME and time() jump by up to ten years either way at every call
//
// Counted: write (but not to standard output and error), fsync, ftruncate, rename, unlink, mkdir, rmdir, flock, and
// open and fopen for writing. Calls that give room back (unlink, rmdir, ftruncate) do not fail on a full disk.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count, fault_at;
static bool full, killing;
static long slow_ms;
static FILE *list;
static const char *only;
static int fault_errno = ENOSPC;

static void *next(const char *name) {
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol) abort();
    return symbol;
}

__attribute__((constructor)) static void read_environment(void) {
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND"), *error = getenv("FAULT_ERROR");
    fault_at = at ? atol(at) : 0;
    only = getenv("FAULT_CALL");
    full = kind && strcmp(kind, "full") == 0;
    killing = kind && strcmp(kind, "kill") == 0;
    slow_ms = getenv("FAULT_SLOW") ? atol(getenv("FAULT_SLOW")) : 0;
    if (error) fault_errno = atoi(error);
    FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) next("fopen");
    if (getenv("FAULT_LIST")) list = real(getenv("FAULT_LIST"), "w");
}

// The number of this call; 0: it is not counted.
static long count_call(const char *name) {
    if (only && strcmp(name, only) != 0) return 0;
    pthread_mutex_lock(&lock);
    long number = ++count;
    if (list) fprintf(list, "%s\n", name);
    pthread_mutex_unlock(&lock);
    if (killing && number == fault_at) kill(getpid(), SIGKILL);
    return number;
}

// Whether a call, by its number, fails; `needs_room`: on a full disk too.
static bool number_fails(long number, bool needs_room) {
    if (fault_at == 0 || number < fault_at || (full ? !needs_room : number > fault_at)) return false;
    errno = full ? ENOSPC : fault_errno;
    return true;
}

static bool fails(const char *name, bool needs_room) {
    return number_fails(count_call(name), needs_room);
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))next("write");
    if (fd <= STDERR_FILENO) return real(fd, data, size);
    long number = count_call("write");
    if (!number_fails(number, true)) return real(fd, data, size);
    if (full && size > 1 && number == fault_at) return real(fd, data, size / 2);
    errno = full ? ENOSPC : fault_errno;
    return -1;
}

int fsync(int fd) {
    if (slow_ms > 0) nanosleep(&(struct timespec){slow_ms / 1000, slow_ms % 1000 * 1000000}, NULL);
    return fails("fsync", true) ? -1 : ((int (*)(int))next("fsync"))(fd);
}

int ftruncate(int fd, off_t size) {
    return fails("ftruncate", false) ? -1 : ((int (*)(int, off_t))next("ftruncate"))(fd, size);
}

int rename(const char *from, const char *to) {
    return fails("rename", true) ? -1 : ((int (*)(const char *, const char *))next("rename"))(from, to);
}

int unlink(const char *path) {
    return fails("unlink", false) ? -1 : ((int (*)(const char *))next("unlink"))(path);
}

int mkdir(const char *path, mode_t mode) {
    return fails("mkdir", true) ? -1 : ((int (*)(const char *, mode_t))next("mkdir"))(path, mode);
}

int rmdir(const char *path) {
    return fails("rmdir", false) ? -1 : ((int (*)(const char *))next("rmdir"))(path);
}

int flock(int fd, int operation) {
    return fails("flock", false) ? -1 : ((int (*)(int, int))next("flock"))(fd, operation);
}

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    if ((flags & O_ACCMODE) != O_RDONLY && fails("open", (flags & O_CREAT) != 0)) return -1;
    return ((int (*)(const char *, int, ...))next("open"))(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode) {
    if (mode[0] != 'r' && fails("fopen", true)) return NULL;
    return ((FILE * (*)(const char *, const char *)) next("fopen"))(path, mode);
}

// Jumps by up to ten years, from the number of the call.
static time_t jump(void) {
    static uint32_t calls;
    uint32_t x = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) * 2654435761u;
    return (time_t)(x % 631152000u) - 315576000;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int status = ((int (*)(clockid_t, struct timespec *))next("clock_gettime"))(id, t);
    if (id == CLOCK_REALTIME && getenv("FAULT_CLOCK")) t->tv_sec += jump();
    return status;
}

time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
