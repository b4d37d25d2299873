// tests/fuzz/fuzz.h - shared by the fuzzers. Each is one file with libFuzzer's entry point; replay.c runs it
// without libFuzzer.
#ifndef POLAR_TESTS_FUZZ_H
#define POLAR_TESTS_FUZZ_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Files of this process alone (memory_files.c): what lies in this folder.
#define FUZZ_FOLDER "/fuzz"
void memory_file_write(const char *path, const uint8_t *data, size_t size);

// The path of a file with this content, the same one in every call.
static inline const char *fuzz_file(const uint8_t *data, size_t size) {
    memory_file_write(FUZZ_FOLDER "/input", data, size);
    return FUZZ_FOLDER "/input";
}

// An error is a text of one line that ends within its array.
static inline void fuzz_check_error(const Error *err) {
    ASSERT(memchr(err->text, 0, sizeof err->text) != NULL && err->text[0] != 0);
}

#endif
