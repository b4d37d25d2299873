#include "run/training/gemm_peak.h"

#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256, LARGEST = 8192, TIMES = 3, PATTERN = 4096 };
static const double LONG_ENOUGH_MS = 2;

// Fills with repeated random numbers in [-1, 1): zeros would take less power and so run faster.
static void fill(Stream *stream, void *matrix, Type type, int64_t n) {
    size_t element = type_size(type), bytes = (size_t)(n * n) * element;
    float *pattern = malloc(PATTERN * sizeof *pattern);
    ASSERT(pattern);
    for (int i = 0; i < PATTERN; i++) pattern[i] = (float)(2 * random_uniform(1, RANDOM_TEST, (uint64_t)i) - 1);
    if (type == TYPE_BF16) // the upper half of each float, in place
        for (int i = 0; i < PATTERN; i++) memcpy((char *)pattern + 2 * i, (char *)&pattern[i] + 2, 2);
    size_t filled = PATTERN * element < bytes ? PATTERN * element : bytes;
    device_copy(stream, matrix, pattern, filled);
    stream_synchronize(stream);
    free(pattern);
    for (; filled < bytes; filled *= 2) {
        size_t more = filled < bytes - filled ? filled : bytes - filled;
        device_copy(stream, (char *)matrix + filled, matrix, more);
    }
}

// Returns the best time of a few GEMMs of (n, n) matrices in milliseconds; 0: out of memory.
static double gemm_ms(Device *device, Stream *stream, Type type, int64_t n) {
    size_t bytes = (size_t)(n * n) * type_size(type);
    void *in = device_alloc(device, bytes), *out = device_alloc(device, bytes);
    Event *from = event_create(device), *to = event_create(device);
    double best = 0;
    if (in && out) {
        fill(stream, in, type, n);
        const Gemm g = {.type = type,
                        .c_type = type,
                        .transpose_b = true,
                        .m = n,
                        .n = n,
                        .k = n,
                        .alpha = 1,
                        .a = in,
                        .lda = n,
                        .b = in,
                        .ldb = n,
                        .c = out,
                        .ldc = n};
        for (int i = 0; i <= TIMES; i++) { // the first one is the warm-up
            event_record(from, stream);
            device_gemm(stream, &g);
            event_record(to, stream);
            stream_synchronize(stream);
            double ms = event_elapsed_ms(from, to);
            if (i > 0 && (best == 0 || ms < best)) best = ms;
        }
    }
    event_destroy(from);
    event_destroy(to);
    if (in) device_free(device, in);
    if (out) device_free(device, out);
    return best;
}

double peak_product_rate(Device *device, Type type) {
    Stream *stream = stream_create(device);
    double rate = 0;
    for (int64_t n = SMALLEST; n <= LARGEST; n *= 2) {
        double ms = gemm_ms(device, stream, type, n);
        if (ms > 0) rate = 2e3 * (double)n * (double)n * (double)n / ms;
        if (ms == 0 || ms >= LONG_ENOUGH_MS) break;
    }
    stream_destroy(stream);
    return rate;
}
