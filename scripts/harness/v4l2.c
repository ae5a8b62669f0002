/* A camera for tests: preloaded into a process, it answers the V4L2 calls on /dev/video0 (Linux).
 *
 * AGFN_V4L2_CONTROL names a file with one line, MODE FPS FRAMES, which may be replaced at any time:
 *   MODE    run | stall (open, but no frame comes) | frozen (the same frame again and again) | gone (unplugged)
 *   FRAMES  file of concatenated JPEGs of one size, played in a loop
 * <AGFN_V4L2_CONTROL>.log gets a line at each open, streamon, streamoff and close: a webcam's light is on in between.
 * The descriptor is an eventfd that counts the frames that are due, so select and poll work by themselves.
 * Calls on other files are passed on as system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BUFFERS = 4, LENGTH = 1 << 20, MOST_FRAMES = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t producer;
static volatile int camera = -1, streaming;
static char mode[16], frames_path[512], loaded_path[512];
static double fps;
static unsigned char *jpegs;
static size_t begins[MOST_FRAMES + 1];
static int frames, current, queue[BUFFERS], queued;
static unsigned width, height, sequence;
static void *buffers[BUFFERS];

static void load_frames(void) { /* under the lock */
    FILE *file = fopen(frames_path, "rb");
    if (!file) return;
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    rewind(file);
    free(jpegs);
    jpegs = malloc(size);
    size = fread(jpegs, 1, size, file);
    fclose(file);
    frames = current = 0;
    for (size_t at = 0; at + 9 < size && frames < MOST_FRAMES; at++) {
        if (jpegs[at] != 0xFF) continue;
        if (jpegs[at + 1] == 0xD8 && jpegs[at + 2] == 0xFF) begins[frames++] = at;
        if (frames == 1 && (jpegs[at + 1] == 0xC0 || jpegs[at + 1] == 0xC2)) { /* start of frame: the size */
            height = jpegs[at + 5] << 8 | jpegs[at + 6];
            width = jpegs[at + 7] << 8 | jpegs[at + 8];
        }
    }
    begins[frames] = size;
    strcpy(loaded_path, frames_path);
}

static void obey(void) {
    const char *path = getenv("AGFN_V4L2_CONTROL");
    FILE *file = path ? fopen(path, "r") : NULL;
    pthread_mutex_lock(&lock);
    if (!file || fscanf(file, "%15s %lf %511s", mode, &fps, frames_path) != 3) strcpy(mode, "gone");
    else if (strcmp(frames_path, loaded_path)) load_frames();
    pthread_mutex_unlock(&lock);
    if (file) fclose(file);
}

static void note(const char *line) {
    const char *path = getenv("AGFN_V4L2_CONTROL");
    char name[600];
    if (!path || snprintf(name, sizeof name, "%s.log", path) >= (int)sizeof name) return;
    FILE *file = fopen(name, "a");
    if (file) fprintf(file, "%s\n", line), fclose(file);
}

static int is(const char *wanted) { return !strcmp(mode, wanted); }

static void *produce(void *unused) {
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (;;) {
        obey();
        pthread_mutex_lock(&lock);
        int fd = camera, give = streaming && !is("stall");
        if (fd < 0) return pthread_mutex_unlock(&lock), unused;
        uint64_t one = 1, pending = 0;
        if (give && is("gone")) { /* wake whoever waits; DQBUF will say so */
            if (write(fd, &one, sizeof one) < 0) perror("eventfd");
        } else if (give && queued) {
            while (read(fd, &pending, sizeof pending) > 0) { } /* a frame nobody fetched is overwritten */
            if (write(fd, &one, sizeof one) < 0) perror("eventfd");
            if (!is("frozen")) current = (current + 1) % frames;
        }
        long period = 1e9 / (fps > 0 ? fps : 25);
        pthread_mutex_unlock(&lock);
        due.tv_nsec += period;
        due.tv_sec += due.tv_nsec / 1000000000;
        due.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
}

static int open_camera(void) {
    obey();
    if (is("gone") || !frames) return errno = ENOENT, -1;
    pthread_mutex_lock(&lock);
    if (camera >= 0) return pthread_mutex_unlock(&lock), errno = EBUSY, -1;
    camera = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    streaming = queued = 0;
    pthread_create(&producer, NULL, produce, NULL);
    note("open");
    pthread_mutex_unlock(&lock);
    return camera;
}

static int dequeue(struct v4l2_buffer *buffer) {
    uint64_t due;
    if (is("gone")) return ENODEV;
    if (read(camera, &due, sizeof due) < 0 || !queued) return EAGAIN;
    int index = queue[0];
    memmove(queue, queue + 1, sizeof *queue * --queued);
    size_t size = begins[current + 1] - begins[current];
    memcpy(buffers[index], jpegs + begins[current], size < LENGTH ? size : LENGTH);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    buffer->index = index;
    buffer->bytesused = size;
    buffer->length = LENGTH;
    buffer->sequence = sequence++;
    buffer->timestamp = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

static int answer(unsigned long request, void *arg) { /* returns an errno; under the lock */
    if (is("gone") && request != VIDIOC_STREAMOFF) return ENODEV;
    switch (request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *it = arg;
        memset(it, 0, sizeof *it);
        strcpy((char *)it->driver, "test");
        strcpy((char *)it->card, "Camera for tests");
        it->capabilities = it->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    }
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *it = arg;
        it->pixelformat = V4L2_PIX_FMT_MJPEG;
        return it->index ? EINVAL : 0;
    }
    case VIDIOC_G_FMT: case VIDIOC_S_FMT: case VIDIOC_TRY_FMT: {
        struct v4l2_format *it = arg;
        if (request == VIDIOC_S_FMT && streaming) return EBUSY;
        it->fmt.pix = (struct v4l2_pix_format){.width = width, .height = height, .sizeimage = LENGTH,
                                               .pixelformat = V4L2_PIX_FMT_MJPEG, .field = V4L2_FIELD_NONE};
        return 0;
    }
    case VIDIOC_G_PARM: case VIDIOC_S_PARM: {
        struct v4l2_streamparm *it = arg;
        it->parm.capture.timeperframe = (struct v4l2_fract){1, fps};
        return 0;
    }
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *it = arg;
        it->count = it->count < BUFFERS ? it->count : BUFFERS;
        queued = 0;
        return 0;
    }
    case VIDIOC_QUERYBUF: {
        struct v4l2_buffer *it = arg;
        it->length = LENGTH;
        it->m.offset = it->index * LENGTH;
        return it->index < BUFFERS ? 0 : EINVAL;
    }
    case VIDIOC_QBUF:
        if (queued == BUFFERS) return EINVAL;
        queue[queued++] = ((struct v4l2_buffer *)arg)->index;
        return 0;
    case VIDIOC_DQBUF: return dequeue(arg);
    case VIDIOC_STREAMON: streaming = 1; note("streamon"); return 0;
    case VIDIOC_STREAMOFF: streaming = queued = 0; note("streamoff"); return 0;
    default: return ENOTTY;
    }
}

int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *arg = va_arg(rest, void *);
    va_end(rest);
    if (fd < 0 || fd != camera) return syscall(SYS_ioctl, fd, request, arg);
    pthread_mutex_lock(&lock);
    /* OpenCV passes the request as an int, whose sign is extended. */
    errno = answer((uint32_t)request, arg);
    int result = errno ? -1 : 0;
    pthread_mutex_unlock(&lock);
    return result;
}

void *mmap(void *where, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd < 0 || fd != camera) return (void *)syscall(SYS_mmap, where, length, protection, flags, fd, offset);
    void *memory = (void *)syscall(SYS_mmap, NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    return buffers[offset / LENGTH] = memory;
}

void *mmap64(void *where, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(where, length, protection, flags, fd, offset);
}

int close(int fd) {
    if (fd >= 0 && fd == camera) {
        pthread_mutex_lock(&lock);
        camera = -1;
        pthread_mutex_unlock(&lock);
        pthread_join(producer, NULL);
        note("close");
    }
    return syscall(SYS_close, fd);
}

static int open_any(const char *path, int flags, va_list rest) {
    if (!strcmp(path, "/dev/video0")) return open_camera();
    int creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
    return syscall(SYS_openat, AT_FDCWD, path, flags, creates ? va_arg(rest, int) : 0);
}

#define OPEN(name)                              \
    int name(const char *path, int flags, ...) { \
        va_list rest;                           \
        va_start(rest, flags);                  \
        int fd = open_any(path, flags, rest);   \
        va_end(rest);                           \
        return fd;                              \
    }
OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)
