// tests/ops_check.h - what the tests of single operations share: the instances, typed copies of inputs, and the
// comparison with a reference and of runs with each other.
//
// Every case runs several times: with 1, 2 and 3 threads (an imitated GPU: with its threads in three orders) and with all
// arrays moved by an element, so that sums that depend on either show as different bits. Inputs are drawn exact in the
// instance's type; references are computed in long double. Outputs start as NaN unless the operation adds to them.
#ifndef POLAR_TESTS_OPS_CHECK_H
#define POLAR_TESTS_OPS_CHECK_H

#include "base/type.h"
#include "device/cpu/cpu.h"
#include "base/random.h"
#include "model/ops.h"

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

#ifdef CUDA_ON_CPU
#include "cuda_on_cpu.h"
#endif

typedef struct {
    Type type, acc;   // of activations and weights; of statistics, gradients of parameters and losses
    const char *name; // "F32 avx2", "BF16 cuda"
    const LayerOps *ops;
    Stream *stream;
} Instance;

// An array in the memory of the instance's device.
typedef struct {
    void *memory; // to be freed
    char *data;
    Type type;
    int64_t n;
} Buffer;

enum { RUNS = 3, MAX_BUFFERS = 64 };

// Half the distance of two neighbouring numbers of BF16, relative to the number: 8 bits.
static const double BF16_ROUNDING = 1.0 / 256;

static const Instance *instance;        // that is being checked
static int run_number;                  // of the case: run_number + 1 threads, arrays run_number elements off
static Buffer run_buffers[MAX_BUFFERS]; // freed at the end of a run, like run_values
static int n_buffers;
static double *run_values[MAX_BUFFERS];
static int n_run_values;
static void *first_bits[MAX_BUFFERS];   // results of the case's first run
static int n_results, result_index;     // of the case; the next one of the run
static void *case_buffers[MAX_BUFFERS]; // freed at the end of a case
static int n_case_buffers;

static inline void check_instance(void (*check)(const Instance *in), Stream *on, Type type, const char *where) {
    char name[32];
    snprintf(name, sizeof name, "%s %s", type_name(type), where);
    Instance in = {type, type_accumulate(type), name, layer_ops(on->device, type), on};
    assert_non_null(in.ops);
    instance = &in;
    check(&in);
    instance = NULL;
}

// Calls check for both types and every instruction set of this machine.
static inline void for_each_cpu_instance(void (*check)(const Instance *in)) {
    char lowered[16];
    const char *asked = getenv("POLAR_ISA");
    snprintf(lowered, sizeof lowered, "%s", asked ? asked : "");
    Isa best = cpu_isa();
    for (Isa isa = ISA_BASE; isa <= best; isa++) {
        setenv("POLAR_ISA", isa_name(isa), 1);
        for (Type type = TYPE_F32; type <= TYPE_F64; type++) check_instance(check, stream, type, isa_name(isa));
    }
    if (*lowered) setenv("POLAR_ISA", lowered, 1);
    else unsetenv("POLAR_ISA");
}

// For those, and for both types of the GPU where there is one. Where it is imitated for the GPU alone: the CPU's instances
// are the same as in the build without it.
static inline void for_each_instance(void (*check)(const Instance *in)) {
#ifndef CUDA_ON_CPU
    for_each_cpu_instance(check);
#endif
    if (gpu == NULL) return;
    check_instance(check, gpu_stream, TYPE_F32, "cuda");
    check_instance(check, gpu_stream, TYPE_BF16, "cuda");
}

// Host doubles that live until case_end.
static inline double *case_doubles(int64_t n) {
    assert_true(n_case_buffers < MAX_BUFFERS);
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    case_buffers[n_case_buffers++] = x;
    return x;
}

// x as an element of the type.
static inline double as_stored(Type type, double x) {
    char bits[sizeof x];
    if (type != TYPE_F64) x = (double)(float)x;
    float_type_write(bits, type, &x, 1);
    float_type_read(&x, type, bits, 1);
    return x;
}

// Normal values with a standard deviation around a mean, exact as floats and in the instance's type.
static inline double *draw(int64_t n, double mean, double std) {
    static uint64_t index;
    Type type = instance->type == TYPE_F64 ? TYPE_F32 : instance->type;
    double *x = case_doubles(n);
    for (int64_t i = 0; i < n; i++) x[i] = as_stored(type, mean + std * random_normal(7, RANDOM_TEST, index++));
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
#ifdef CUDA_ON_CPU
    cuda_on_cpu_set_order((CudaOnCpuOrder)(number % 3), (uint64_t)number);
#endif
}

static inline void run_end(void) {
    for (int i = 0; i < n_buffers; i++) device_free(instance->stream->device, run_buffers[i].memory);
    for (int i = 0; i < n_run_values; i++) free(run_values[i]);
    n_buffers = n_run_values = result_index = 0;
}

// n elements of device memory, from `bits` on the host.
static inline void *on_device(Type type, const void *bits, int64_t n) {
    assert_true(n_buffers < MAX_BUFFERS);
    size_t element = type_size(type);
    Buffer b = {device_alloc(instance->stream->device, (size_t)(n + RUNS) * element), NULL, type, n};
    assert_non_null(b.memory);
    b.data = (char *)b.memory + (size_t)run_number * element;
    device_copy(instance->stream, b.data, bits, (size_t)n * element);
    stream_synchronize(instance->stream);
    run_buffers[n_buffers++] = b;
    return b.data;
}

// A copy of n values in a type; NULL: n times NaN.
static inline void *typed(Type type, const double *values, int64_t n) {
    size_t element = type_size(type);
    char *bits = malloc((size_t)n * element + 1);
    assert_non_null(bits);
    for (int64_t i = 0; i < n; i++) {
        double value = values ? values[i] : (double)NAN;
        if (type != TYPE_F64) value = (double)(float)value;
        float_type_write(bits + (size_t)i * element, type, &value, 1);
    }
    void *data = on_device(type, bits, n);
    free(bits);
    return data;
}

// The array that holds `data`, which may begin within it.
static inline const Buffer *buffer_of(const void *data) {
    for (int i = 0; i < n_buffers; i++) {
        const Buffer *b = &run_buffers[i];
        if ((const char *)data >= b->data && (const char *)data < b->data + b->n * (int64_t)type_size(b->type))
            return b;
    }
    fail_msg("an array that typed() has not made");
    return NULL;
}

static inline void read_bits(void *bits, const void *data, size_t bytes) {
    device_copy(instance->stream, bits, data, bytes);
    stream_synchronize(instance->stream);
}

// n elements of such an array as doubles, which live until run_end.
static inline const double *values_of(const void *data, int64_t n) {
    const Buffer *b = buffer_of(data);
    double *values = malloc((size_t)(n + 1) * sizeof *values);
    void *bits = malloc((size_t)n * type_size(b->type));
    assert_true(n_run_values < MAX_BUFFERS && values && bits);
    read_bits(bits, data, (size_t)n * type_size(b->type));
    float_type_read(values, b->type, bits, n);
    free(bits);
    run_values[n_run_values++] = values;
    return values;
}

static inline double type_eps(Type type) {
    return type_accumulate(type) == TYPE_F64 ? DBL_EPSILON : FLT_EPSILON;
}

// What the rounding of a result to the type of its array adds to its error, relative to the number.
static inline double storage_error(const void *data) {
    return buffer_of(data)->type == TYPE_BF16 ? BF16_ROUNDING : 0;
}

// ||data - ref|| <= factor eps (||ref|| + floor sqrt(n)), and the same bits in every run. `factor` bounds the relative
// error of an element in units of the eps that is computed with; `floor` is the size of intermediate values that
// cancel. Arrays in BF16 have their rounding in addition.
static inline void expect(const Instance *in, const char *what, const void *data, const double *ref, int64_t n,
                          double factor, double floor) {
    const double *values = values_of(data, n);
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = values[i] - ref[i];
        error += d * d;
        norm += ref[i] * ref[i];
    }
    double allowed = factor * type_eps(in->type) * (sqrt(norm) + floor * sqrt((double)n));
    allowed += storage_error(data) * (sqrt(norm) + allowed);
    if (!(sqrt(error) <= allowed))
        fail_msg("%s, %s, run %d: error %.3g of norm %.3g, allowed %.3g", what, in->name, run_number, sqrt(error),
                 sqrt(norm), allowed);
    size_t bytes = (size_t)n * type_size(buffer_of(data)->type);
    void *bits = malloc(bytes);
    assert_non_null(bits);
    read_bits(bits, data, bytes);
    if (run_number == 0) {
        assert_true(n_results < MAX_BUFFERS);
        first_bits[n_results++] = bits;
    } else {
        bool same = !memcmp(first_bits[result_index], bits, bytes);
        free(bits);
        if (!same) fail_msg("%s, %s: other bits in run %d", what, in->name, run_number);
    }
    result_index++;
}

// The values have not been touched.
static inline void expect_unchanged(const Instance *in, const char *what, const void *data, const double *before,
                                    int64_t n) {
    const double *values = values_of(data, n);
    for (int64_t i = 0; i < n; i++)
        if (values[i] != before[i]) fail_msg("%s, %s: element %lld was written", what, in->name, (long long)i);
}

#endif
