// tests/fuzz/fuzz.h - what the fuzzers share. Each is one file with libFuzzer's entry; replay.c runs it without
// libFuzzer.
#ifndef POLAR_TESTS_FUZZ_H
#define POLAR_TESTS_FUZZ_H

#include "device/error.h" // defines: Error

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The path of a file in memory with this content, the same one in every call.
static inline const char *fuzz_file(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[32];
    if (fd < 0) {
        fd = memfd_create("fuzz", 0);
        ASSERT(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

// An error is a text of one line that ends within its array.
static inline void fuzz_check_error(const Error *err) {
    ASSERT(memchr(err->text, 0, sizeof err->text) != NULL && err->text[0] != 0);
}

#endif
