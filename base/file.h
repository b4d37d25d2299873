// base/file.h - the few file operations that every format here needs: whole reads, whole writes, durable names.
#ifndef POLAR_BASE_FILE_H
#define POLAR_BASE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// Opens a regular file for reading and tells its size. -1 with an error that names the file.
int file_open_read(int64_t *size, const char *path, Error *err);

// Reads exactly `size` bytes at `offset`; a file that ends earlier is an error.
bool file_read_at(void *data, int fd, const char *path, int64_t offset, size_t size, Error *err);

// Writes all of it, however many calls that takes.
bool file_write(int fd, const char *path, const void *data, size_t size, Error *err);

// All of a file, zero-terminated behind its `size` bytes and freed by the caller; NULL with an error, also for a file of
// more than `max` bytes.
char *file_read_whole(size_t *size, const char *path, size_t max, Error *err);

// Replaces a file by pieces of data, one after the other: written to PATH.tmp, synced and renamed, so that at every
// instant the old or the new one is there. Nothing is left behind after an error.
typedef struct {
    const void *data;
    size_t size;
} FilePiece;
bool file_replace(const char *path, const FilePiece *pieces, int n_pieces, Error *err);

// Makes a rename or a removal in the folder of `path` survive a power cut.
bool file_sync_parent(const char *path, Error *err);

// Removes a folder of plain files; no error where there is none.
bool file_remove_folder(const char *path, Error *err);

// Creates a folder and those above it; no error where it exists.
bool file_make_dirs(const char *path, Error *err);
#endif
