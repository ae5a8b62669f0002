/* A wall clock for tests that can be set while a program runs: preloaded into it (Linux).
 *
 * AGFN_WALLCLOCK names a file with the seconds by which the clock is off; it may be replaced at any time.
 * The kernel's own clock stays right, so a time by which to wait is put right before it is handed to the kernel. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_EVERY_NS = 20000000, OLDEST_WALL_CLOCK = 500000000 };

static long off(void) {
    static volatile long seconds;
    static volatile long long looked_ns;
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long long now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    if (now_ns - looked_ns > LOOK_EVERY_NS) {
        looked_ns = now_ns;
        const char *path = getenv("AGFN_WALLCLOCK");
        FILE *file = path ? fopen(path, "r") : NULL;
        long read_seconds;
        if (file) {
            if (fscanf(file, "%ld", &read_seconds) == 1) seconds = read_seconds;
            fclose(file);
        }
    }
    return seconds;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, id, time);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) time->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int failed = syscall(SYS_gettimeofday, time, zone);
    if (!failed) time->tv_sec += off();
    return failed;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

static struct timespec of_the_kernel(const struct timespec *until) {
    struct timespec right = *until;
    if (right.tv_sec > OLDEST_WALL_CLOCK) right.tv_sec -= off(); /* else it is of the monotonic clock */
    return right;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) {
        *(void **)&real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* dlsym finds the oldest */
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    }
    struct timespec right = of_the_kernel(until);
    return real(condition, mutex, &right);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec right = of_the_kernel(until);
    return real(semaphore, &right);
}
