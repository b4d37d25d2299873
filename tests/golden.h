// tests/golden.h - golden vectors (tests/golden/*.safetensors) and the rule by which numbers are compared.
#ifndef POLAR_TESTS_GOLDEN_H
#define POLAR_TESTS_GOLDEN_H

#include "base/type.h"
#include "base/safetensors.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

// Opens tests/golden/NAME.safetensors; the tests run at the top of the repository.
static inline void golden_open(Safetensors *file, const char *name) {
    char path[256];
    Error err;
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    if (!safetensors_open(file, path, &err)) fail_msg("%s", err.text);
}

// What golden_data has read stays until the test program ends.
static struct GoldenData {
    struct GoldenData *next;
    _Alignas(16) unsigned char bytes[];
} * golden_loaded;

// The data of a tensor named by a format, which must have this type and number of elements.
__attribute__((format(printf, 4, 5))) static inline const void *
golden_data(const Safetensors *file, Type type, int64_t elements, const char *format, ...) {
    char name[160];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const SafeTensor *tensor = safetensors_find(file, name);
    if (!tensor) fail_msg("the fixture has no tensor %s", name);
    if (tensor->type != type || tensor->elements != elements)
        fail_msg("%s is %lld elements of %s, not %lld of %s", name, (long long)tensor->elements,
                 type_name(tensor->type), (long long)elements, type_name(type));
    struct GoldenData *loaded = malloc(sizeof *loaded + (size_t)(tensor->end - tensor->begin));
    Error err;
    assert_non_null(loaded);
    if (!safetensors_read_bytes(loaded->bytes, file, tensor, 0, tensor->end - tensor->begin, &err))
        fail_msg("%s", err.text);
    loaded->next = golden_loaded;
    golden_loaded = loaded;
    return loaded->bytes;
}

static inline int golden_int(const Safetensors *file, const char *name) {
    return *(const int32_t *)golden_data(file, TYPE_I32, 1, "%s", name);
}

static inline double norm_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

static inline double distance_of(const double *x, const double *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum);
}

// ||x - ref|| <= tol max(||ref||, floor): relative error, and absolute where the reference is (nearly) zero.
// Written so that a NaN is not close. Says what was wrong.
static inline bool is_close(const char *what, const double *x, const double *ref, int64_t n, double tol,
                            double floor) {
    double error = distance_of(x, ref, n), norm = norm_of(ref, n);
    if (error <= tol * fmax(norm, floor)) return true;
    print_error("%s: error %.3g, norm %.3g, relative %.3g, allowed %.3g of at least %.3g\n", what, error, norm,
                error / norm, tol, floor);
    return false;
}

// Elements of a typed array as double, and back.
static inline void to_double(double *out, const void *in, Type type, int64_t n) {
    float_type_read(out, type, in, n);
}

static inline void from_double(void *out, const double *in, Type type, int64_t n) {
    float_type_write(out, type, in, n);
}

#endif
