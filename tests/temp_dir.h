// tests/temp_dir.h - a folder of its own for a test program, removed afterwards with what is in it; small files.
#ifndef POLAR_TESTS_TEMP_DIR_H
#define POLAR_TESTS_TEMP_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char temp_dir[64];

static inline int temp_remove_one(const char *path, const struct stat *st, int type, struct FTW *place) {
    (void)st, (void)type, (void)place;
    return remove(path);
}

// For cmocka_run_group_tests.
static inline int temp_dir_create(void **state) {
    (void)state;
    strcpy(temp_dir, "/tmp/polar_test_XXXXXX");
    return mkdtemp(temp_dir) ? 0 : -1;
}

static inline int temp_dir_remove(void **state) {
    (void)state;
    return nftw(temp_dir, temp_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

// The path of a file in the folder, valid for the next three calls.
static inline const char *temp_path(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", temp_dir, name);
    return path;
}

static inline const char *temp_file(const char *name, const void *data, size_t size) {
    const char *path = temp_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    return path;
}

// The file's bytes, to be freed.
static inline unsigned char *temp_read(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, f), *size);
    fclose(f);
    return data;
}

#endif
