#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int file_open_read(int64_t *size, const char *path, Error *err) {
    // O_NONBLOCK: opening a named pipe must not block before fstat can reject it.
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
            return error_set(err, "%s ends early, at byte %lld: it was truncated or replaced", path,
                             (long long)offset);
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

char *file_read_whole(size_t *size, const char *path, size_t max, Error *err) {
    int64_t length;
    int fd = file_open_read(&length, path, err);
    if (fd < 0) return NULL;
    char *text = NULL;
    if ((uint64_t)length > max)
        error_set(err, "%s is too large for a file of its kind: %lld bytes", path, (long long)length);
    else if (!(text = malloc((size_t)length + 1))) error_set(err, "out of memory for %s", path);
    else if (!file_read_at(text, fd, path, 0, (size_t)length, err)) {
        free(text);
        text = NULL;
    }
    close(fd);
    if (!text) return NULL;
    text[length] = 0;
    *size = (size_t)length;
    return text;
}

// Locks an open temporary file. On failure *again is true if another process renamed or removed the file meanwhile:
// what is open may be its finished file.
static bool lock_temporary(bool *again, int fd, const char *temporary, const char *path, Error *err) {
    struct stat open_file, named;
    *again = false;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno != EWOULDBLOCK || // a file system without locks
               error_set(err, "another process is writing %s: wait for it, or choose another name", path);
    *again = fstat(fd, &open_file) != 0 || stat(temporary, &named) != 0 || open_file.st_ino != named.st_ino;
    return !*again ||
           error_set(err, "%s changes while it is being locked: is another process writing it?", temporary);
}

static int open_temporary(const char *temporary, const char *path, Error *err) {
    enum { TRIES = 10 };
    bool again = true;
    for (int i = 0; i < TRIES && again; i++) {
        int fd = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) {
            error_set(err, "cannot create %s: %s", temporary, strerror(errno));
            return -1;
        }
        if (lock_temporary(&again, fd, temporary, path, err)) return fd;
        close(fd);
    }
    return -1;
}

bool atomic_file_open(AtomicFile *file, const char *path, Error *err) {
    *file = (AtomicFile){.fd = -1};
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return error_set(err, "path too long: %s", path);
    int fd = open_temporary(temporary, path, err);
    if (fd < 0) return false;
    if (ftruncate(fd, 0) != 0) {
        error_set(err, "cannot write %s: %s", temporary, strerror(errno));
        unlink(temporary);
        close(fd);
        return false;
    }
    *file = (AtomicFile){fd, strdup(path), strdup(temporary)};
    ASSERT(file->path && file->temporary);
    return true;
}

static void release(AtomicFile *file) {
    close(file->fd);
    free(file->path);
    free(file->temporary);
    *file = (AtomicFile){.fd = -1};
}

bool atomic_file_commit(AtomicFile *file, Error *err) {
    bool ok = fsync(file->fd) == 0 || error_set(err, "cannot write %s: %s", file->path, strerror(errno));
    if (ok && rename(file->temporary, file->path) != 0)
        ok = error_set(err, "cannot rename %s to %s: %s", file->temporary, file->path, strerror(errno));
    if (ok) ok = file_sync_parent(file->path, err);
    else unlink(file->temporary);
    release(file);
    return ok;
}

void atomic_file_discard(AtomicFile *file) {
    if (!file->path) return;
    unlink(file->temporary);
    release(file);
}

bool file_replace(const char *path, const FilePiece *pieces, int n_pieces, Error *err) {
    AtomicFile file;
    bool ok = atomic_file_open(&file, path, err);
    for (int i = 0; i < n_pieces && ok; i++) ok = file_write(file.fd, path, pieces[i].data, pieces[i].size, err);
    if (ok) return atomic_file_commit(&file, err);
    atomic_file_discard(&file);
    return false;
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
    // Some network file systems cannot fsync a directory and fail with EINVAL; nothing more can be done there.
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    if (!ok) error_set(err, "cannot sync the folder %s: %s", name, strerror(errno));
    close(fd);
    return ok;
}

bool file_remove_folder(const char *path, Error *err) {
    char file[PATH_MAX];
    DIR *dir = opendir(path);
    if (!dir) return errno == ENOENT || error_set(err, "cannot remove %s: %s", path, strerror(errno));
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file)
            unlink(file); // best effort: rmdir fails if anything is left
    }
    closedir(dir);
    return rmdir(path) == 0 || error_set(err, "cannot remove %s: %s", path, strerror(errno));
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
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return error_set(err, "%s exists and is not a folder", path);
    return true;
}
