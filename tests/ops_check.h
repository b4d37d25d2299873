// tests/ops_check.h - what the tests of single operations share: the instances, typed copies of inputs, and the
// comparison with a reference and of runs with each other.
//
// Every case runs several times: with 1, 2 and 3 threads and with all arrays moved by an element, so that sums that
// depend on either show as different bits. Inputs are drawn as floats, exact in every type; references are computed
// in long double. Outputs start as NaN unless the operation adds to them.
#ifndef POLAR_TESTS_OPS_CHECK_H
#define POLAR_TESTS_OPS_CHECK_H

#include "device/cpu.h"    // defines: Isa, cpu_isa
#include "device/random.h" // defines: random_normal
#include "model/ops.h"     // defines: LayerOps

#define DEVICE_THREADS 2
#include "tests/device_fixture.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

typedef struct {
    Type type;
    Isa isa;
    const LayerOps *ops;
    Stream *stream;
} Instance;

enum { RUNS = 3, MAX_BUFFERS = 64 };

static int run_number;                 // of the case: run_number + 1 threads, arrays run_number elements off
static void *run_buffers[MAX_BUFFERS]; // freed at the end of a run
static int n_buffers;
static void *first_bits[MAX_BUFFERS];   // results of the case's first run
static int n_results, result_index;     // of the case; the next one of the run
static void *case_buffers[MAX_BUFFERS]; // freed at the end of a case
static int n_case_buffers;

// Calls check for both types and every instruction set of this machine.
static inline void for_each_instance(void (*check)(const Instance *in)) {
    char lowered[16];
    const char *asked = getenv("POLAR_ISA");
    snprintf(lowered, sizeof lowered, "%s", asked ? asked : "");
    Isa best = cpu_isa();
    for (Isa isa = ISA_BASE; isa <= best; isa++) {
        setenv("POLAR_ISA", isa_name(isa), 1);
        for (Type type = TYPE_F32; type <= TYPE_F64; type++) {
            Instance in = {type, isa, layer_ops(device, type), stream};
            assert_non_null(in.ops);
            check(&in);
        }
    }
    if (*lowered) setenv("POLAR_ISA", lowered, 1);
    else unsetenv("POLAR_ISA");
}

// Host doubles that live until case_end.
static inline double *case_doubles(int64_t n) {
    assert_true(n_case_buffers < MAX_BUFFERS);
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    case_buffers[n_case_buffers++] = x;
    return x;
}

// Normal values with a standard deviation around a mean, exact as floats.
static inline double *draw(int64_t n, double mean, double std) {
    static uint64_t index;
    double *x = case_doubles(n);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(mean + std * random_normal(7, RANDOM_TEST, index++));
    return x;
}

static inline void case_end(void) {
    for (int i = 0; i < n_case_buffers; i++) free(case_buffers[i]);
    for (int i = 0; i < n_results; i++) free(first_bits[i]);
    n_case_buffers = n_results = 0;
    omp_set_num_threads(device->n_threads);
}

static inline void run_begin(int number) {
    run_number = number;
    omp_set_num_threads(number + 1);
}

static inline void run_end(void) {
    for (int i = 0; i < n_buffers; i++) free(run_buffers[i]);
    n_buffers = result_index = 0;
}

// A copy of n values in a type; NULL: n times NaN.
static inline void *typed(Type type, const double *values, int64_t n) {
    assert_true(n_buffers < MAX_BUFFERS);
    size_t element = type_size(type);
    char *memory = malloc((size_t)(n + RUNS) * element);
    assert_non_null(memory);
    run_buffers[n_buffers++] = memory;
    memory += (size_t)run_number * element;
    for (int64_t i = 0; i < n; i++) {
        double value = values ? values[i] : (double)NAN;
        if (type == TYPE_F64) memcpy(memory + (size_t)i * element, &value, element);
        else memcpy(memory + (size_t)i * element, &(float){(float)value}, element);
    }
    return memory;
}

static inline double element_of(Type type, const void *data, int64_t i) {
    return type == TYPE_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

// ||data - ref|| <= factor eps (||ref|| + floor sqrt(n)), and the same bits in every run. `factor` bounds the
// relative error of an element in units of the type's eps; `floor` is the size of intermediate values that cancel.
static inline void expect(const Instance *in, const char *what, const void *data, const double *ref, int64_t n,
                          double factor, double floor) {
    double eps = in->type == TYPE_F64 ? DBL_EPSILON : FLT_EPSILON, error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = element_of(in->type, data, i) - ref[i];
        error += d * d;
        norm += ref[i] * ref[i];
    }
    double allowed = factor * eps * (sqrt(norm) + floor * sqrt((double)n));
    if (!(sqrt(error) <= allowed))
        fail_msg("%s, %s %s, %d threads: error %.3g of norm %.3g, allowed %.3g", what, type_name(in->type),
                 isa_name(in->isa), run_number + 1, sqrt(error), sqrt(norm), allowed);
    size_t bytes = (size_t)n * type_size(in->type);
    if (run_number == 0) {
        assert_true(n_results < MAX_BUFFERS);
        first_bits[n_results] = malloc(bytes);
        assert_non_null(first_bits[n_results]);
        memcpy(first_bits[n_results++], data, bytes);
    } else if (memcmp(first_bits[result_index], data, bytes)) {
        fail_msg("%s, %s %s: other bits with %d threads and arrays elsewhere", what, type_name(in->type),
                 isa_name(in->isa), run_number + 1);
    }
    result_index++;
}

// The values have not been touched.
static inline void expect_unchanged(const Instance *in, const char *what, const void *data, const double *before,
                                    int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (element_of(in->type, data, i) != before[i])
            fail_msg("%s: element %lld was written", what, (long long)i);
}

#endif
