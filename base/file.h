// base/file.h - file operations: complete reads and writes, atomic replacement, durable renames.
#ifndef POLAR_BASE_FILE_H
#define POLAR_BASE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// Opens a regular file for reading and sets *size. Returns -1 with an error that names the file.
int file_open_read(int64_t *size, const char *path, Error *err);

// Reads exactly `size` bytes at `offset`; end of file before that is an error.
bool file_read_at(void *data, int fd, const char *path, int64_t offset, size_t size, Error *err);

// Writes all `size` bytes, retrying after short writes.
bool file_write(int fd, const char *path, const void *data, size_t size, Error *err);

// Returns the whole file, zero-terminated after its *size bytes, to be freed by the caller. NULL with an error if it
// cannot be read or has more than `max` bytes.
char *file_read_whole(size_t *size, const char *path, size_t max, Error *err);

// A file that replaces PATH when it is complete: at any instant PATH is the old or the new file. It is PATH.tmp
// until then, and locked: opening fails if another process is writing the same PATH; what a killed process left is
// overwritten.
typedef struct {
    int fd;
    char *path, *temporary; // NULL: not open
} AtomicFile;
bool atomic_file_open(AtomicFile *file, const char *path, Error *err);
bool atomic_file_commit(AtomicFile *file, Error *err); // fsyncs and renames; after an error nothing is left
void atomic_file_discard(AtomicFile *file);            // does nothing if the file is not open

// Atomically replaces a file by the concatenation of `pieces`.
typedef struct {
    const void *data;
    size_t size;
} FilePiece;
bool file_replace(const char *path, const FilePiece *pieces, int n_pieces, Error *err);

// Fsyncs the folder that contains `path`, so that a rename or removal in it survives a power failure.
bool file_sync_parent(const char *path, Error *err);

// Removes a folder and the plain files in it; not an error if it does not exist.
bool file_remove_folder(const char *path, Error *err);

// Creates a folder and its parents (mkdir -p); not an error if it exists.
bool file_make_dirs(const char *path, Error *err);
#endif
