/* A disk that fills up while a program writes to it: preloaded into the program (Linux).
 *
 * AGFN_FULLDISK names a file. While it is there, nothing more can be written to the files of its folder. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_full(int fd) {
    const char *flag = getenv("AGFN_FULLDISK");
    if (!flag || access(flag, F_OK)) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    const char *end = strrchr(flag, '/');
    return length > 0 && end && !strncmp(path, flag, end + 1 - flag);
}

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    int before = errno;
    if (fd > 2 && is_full(fd)) {
        errno = ENOSPC;
        return -1;
    }
    errno = before;
    return next(fd, data, size);
}
