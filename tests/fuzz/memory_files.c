// In-memory files: everything that the parsers open under FUZZ_FOLDER. The linker redirects their calls here
// (--wrap), so an input costs no system call, and a mapped file is a heap block of exactly its size, which
// AddressSanitizer checks.
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

enum { MOST_FILES = 4, MOST_MAPS = 8, FIRST_FD = 1 << 20, FOLDER_FD = FIRST_FD + MOST_FILES };

typedef struct {
    char name[64]; // "": free
    uint8_t *data;
    size_t size;
} MemoryFile;

static MemoryFile files[MOST_FILES]; // the descriptor of files[i] is FIRST_FD + i
static void *maps[MOST_MAPS];

static bool is_ours(const char *path) {
    return strncmp(path, FUZZ_FOLDER, strlen(FUZZ_FOLDER)) == 0;
}

static MemoryFile *find(const char *path) {
    for (int i = 0; i < MOST_FILES; i++)
        if (strcmp(files[i].name, path) == 0) return &files[i];
    errno = ENOENT;
    return NULL;
}

static MemoryFile *create(const char *path) {
    MemoryFile *file = find(path);
    for (int i = 0; i < MOST_FILES && !file; i++)
        if (!files[i].name[0]) file = &files[i];
    ASSERT(file && strlen(path) < sizeof file->name);
    strcpy(file->name, path);
    return file;
}

static void append(MemoryFile *file, const void *data, size_t size) {
    file->data = realloc(file->data, file->size + size + 1);
    ASSERT(file->data);
    memcpy(file->data + file->size, data, size);
    file->size += size;
}

static void clear(MemoryFile *file) {
    free(file->data);
    *file = (MemoryFile){0};
}

void memory_file_write(const char *path, const uint8_t *data, size_t size) {
    MemoryFile *file = create(path);
    file->size = 0;
    append(file, data, size);
}

static MemoryFile *file_of(int fd) {
    return fd >= FIRST_FD && fd < FOLDER_FD ? &files[fd - FIRST_FD] : NULL;
}

#define WRAP(type, name, ...)                                                                                      \
    type __real_##name(__VA_ARGS__);                                                                               \
    type __wrap_##name(__VA_ARGS__);                                                                               \
    type __wrap_##name(__VA_ARGS__)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (!is_ours(path)) return __real_open(path, flags, mode);
    if (flags & O_DIRECTORY) return FOLDER_FD;
    MemoryFile *file = flags & O_CREAT ? create(path) : find(path);
    if (!file) return -1;
    if (flags & O_TRUNC) file->size = 0;
    return FIRST_FD + (int)(file - files);
}

WRAP(int, close, int fd) {
    return fd >= FIRST_FD ? 0 : __real_close(fd);
}

WRAP(int, access, const char *path, int mode) {
    return !is_ours(path) ? __real_access(path, mode) : find(path) ? 0 : -1;
}

WRAP(int, fstat, int fd, struct stat *st) {
    const MemoryFile *file = file_of(fd);
    if (!file) return __real_fstat(fd, st);
    *st = (struct stat){.st_mode = S_IFREG | 0600, .st_size = (off_t)file->size};
    return 0;
}

WRAP(ssize_t, pread, int fd, void *to, size_t size, off_t offset) {
    const MemoryFile *file = file_of(fd);
    if (!file) return __real_pread(fd, to, size, offset);
    size_t left = (size_t)offset < file->size ? file->size - (size_t)offset : 0;
    if (size > left) size = left;
    if (size > 0) memcpy(to, file->data + offset, size);
    return (ssize_t)size;
}

WRAP(ssize_t, write, int fd, const void *data, size_t size) {
    MemoryFile *file = file_of(fd);
    if (!file) return __real_write(fd, data, size);
    append(file, data, size);
    return (ssize_t)size;
}

WRAP(int, ftruncate, int fd, off_t size) {
    MemoryFile *file = file_of(fd);
    if (!file) return __real_ftruncate(fd, size);
    ASSERT(size == 0);
    file->size = 0;
    return 0;
}

WRAP(int, fsync, int fd) {
    return fd >= FIRST_FD ? 0 : __real_fsync(fd);
}

WRAP(int, posix_fadvise, int fd, off_t offset, off_t size, int advice) {
    return fd >= FIRST_FD ? 0 : __real_posix_fadvise(fd, offset, size, advice);
}

WRAP(int, unlink, const char *path) {
    if (!is_ours(path)) return __real_unlink(path);
    MemoryFile *file = find(path);
    if (file) clear(file);
    return file ? 0 : -1;
}

WRAP(int, rename, const char *from, const char *to) {
    if (!is_ours(from)) return __real_rename(from, to);
    MemoryFile *file = find(from), *old = find(to);
    if (!file) return -1;
    if (old) clear(old);
    strcpy(file->name, to);
    return 0;
}

WRAP(void *, mmap, void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    const MemoryFile *file = file_of(fd);
    if (!file) return __real_mmap(at, size, protection, flags, fd, offset);
    for (int i = 0; i < MOST_MAPS; i++) {
        if (maps[i]) continue;
        ASSERT(offset == 0 && size == file->size);
        maps[i] = malloc(size);
        ASSERT(maps[i]);
        return memcpy(maps[i], file->data, size);
    }
    errno = ENOMEM;
    return MAP_FAILED;
}

WRAP(int, munmap, void *map, size_t size) {
    for (int i = 0; i < MOST_MAPS; i++) {
        if (maps[i] != map) continue;
        free(map);
        maps[i] = NULL;
        return 0;
    }
    return __real_munmap(map, size);
}

WRAP(FILE *, fopen, const char *path, const char *mode) {
    const MemoryFile *file = is_ours(path) ? find(path) : NULL;
    return file ? fmemopen(file->data, file->size, mode) : __real_fopen(path, mode);
}
