/* Records what a process writes and syncs, for replaying power cuts: LD_PRELOAD this, POWER_LOG names the record.
 *
 * Only files whose name ends in .db, .db-wal or .ack are followed. A record is a head and the written bytes; a sync is
 * recorded after it has returned, so that what the record shows as synced was synced.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 1024 };

struct head {
    char op;   /* w write, t truncate, s sync */
    char file; /* d database, l its log, a acknowledgement */
    char pad[6];
    uint64_t offset;
    uint64_t length;
};

static char followed[FILES];
static int record = -1;

static char kind_of(const char *path) {
    static const struct { const char *end; char kind; } kinds[] = {{".db", 'd'}, {".db-wal", 'l'}, {".ack", 'a'}};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t tail = strlen(kinds[i].end);
        if (length >= tail && strcmp(path + length - tail, kinds[i].end) == 0) return kinds[i].kind;
    }
    return 0;
}

static void note(char op, int fd, uint64_t offset, const void *data, uint64_t length) {
    if (fd < 0 || fd >= FILES || !followed[fd]) return;
    if (record < 0) record = (int)syscall(SYS_openat, AT_FDCWD, getenv("POWER_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    struct head head = {op, followed[fd], {0}, offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, data ? length : 0}};
    if (syscall(SYS_writev, record, parts, 2) < 0) abort();
}

static int follow(int fd, const char *path) {
    if (fd >= 0 && fd < FILES) followed[fd] = kind_of(path);
    return fd;
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        int mode = va_arg(rest, int);                           \
        va_end(rest);                                           \
        return follow((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), path); \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(name)                                                              \
    ssize_t name(int fd, const void *data, size_t length, off_t offset) {         \
        ssize_t written = syscall(SYS_pwrite64, fd, data, length, offset);        \
        if (written > 0) note('w', fd, (uint64_t)offset, data, (uint64_t)written); \
        return written;                                                           \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(name)                                       \
    int name(int fd, off_t length) {                         \
        int status = (int)syscall(SYS_ftruncate, fd, length); \
        if (status == 0) note('t', fd, 0, NULL, (uint64_t)length); \
        return status;                                       \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(name)                                \
    int name(int fd) {                            \
        int status = (int)syscall(SYS_##name, fd); \
        if (status == 0) note('s', fd, 0, NULL, 0); \
        return status;                            \
    }
SYNC(fsync)
SYNC(fdatasync)
