#include "data/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_open_read(int64_t *size, const char *path, Error *err) {
    // O_NONBLOCK: a named pipe must not hold us up before fstat can refuse it.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_set(err, "cannot open %s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        error_set(err, "%s is not a regular file", path);
    } else {
        *size = st.st_size;
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

bool file_read_at(void *data, int fd, const char *path, int64_t offset, size_t size, Error *err) {
    char *p = data;
    while (size > 0) {
        ssize_t n = pread(fd, p, size, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(err, "cannot read %s: %s", path, strerror(errno));
        if (n == 0)
            return error_set(err, "%s ends at byte %lld, within what should be there; it was cut short or replaced",
                             path, (long long)offset);
        p += n;
        offset += n;
        size -= (size_t)n;
    }
    return true;
}

bool file_write(int fd, const char *path, const void *data, size_t size, Error *err) {
    const char *p = data;
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(err, "cannot write %s: %s", path, strerror(errno));
        p += n;
        size -= (size_t)n;
    }
    return true;
}

bool file_sync_parent(const char *path, Error *err) {
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof dir) return error_set(err, "path too long: %s", path);
    memcpy(dir, path, length);
    dir[length] = 0;
    const char *name = !slash ? "." : length == 0 ? "/" : dir;
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_set(err, "cannot open the folder %s: %s", name, strerror(errno));
    // Some network file systems cannot sync a folder and say EINVAL; there is nothing more to do on them.
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    if (!ok) error_set(err, "cannot sync the folder %s: %s", name, strerror(errno));
    close(fd);
    return ok;
}

bool file_make_dirs(const char *path, Error *err) {
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof part) return error_set(err, "path too long: %s", path);
    for (size_t i = 1; i <= length; i++) {
        if (i < length && path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return error_set(err, "cannot create the folder %s: %s", part, strerror(errno));
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return error_set(err, "%s is in the way: it exists and is not a folder", path);
    return true;
}
