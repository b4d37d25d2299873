// What the GPU itself can do, through the program's own backend: copy bandwidth, and the rates of matrix products on random
// data, large and in the shapes of GPT-2 124M. The ceilings that the times of a training step are held against.
//   build/tests/gpu_ceilings [cuda:N]
#include "device/device.h"
#include "device/random.h" // defines: random_normal

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 20 };

static Device *device;
static Stream *stream;

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Median milliseconds of `run` after three runs to warm up.
static double median_ms(void (*run)(void *), void *what) {
    double ms[REPEATS];
    Event *from = event_create(device), *to = event_create(device);
    for (int i = -3; i < REPEATS; i++) {
        event_record(from, stream);
        run(what);
        event_record(to, stream);
        stream_synchronize(stream);
        if (i >= 0) ms[i] = event_elapsed_ms(from, to);
    }
    event_destroy(from), event_destroy(to);
    qsort(ms, REPEATS, sizeof *ms, compare);
    return ms[REPEATS / 2];
}

static void *need(size_t bytes) {
    void *memory = device_alloc(device, bytes);
    if (memory == NULL) exit((fprintf(stderr, "error: %s has no %zu bytes left\n", device->name, bytes), 1));
    return memory;
}

typedef struct {
    char *to, *from;
    size_t bytes;
} Copy;

static void run_copy(void *what) {
    Copy *c = what;
    device_copy(stream, c->to, c->from, c->bytes);
}

// Random numbers: products of zeros run faster than products of data. One block is drawn and repeated.
static void *filled(Type type, int64_t n) {
    enum { BLOCK = 1 << 20 };
    size_t element = type_size(type);
    char *block = malloc(BLOCK * element), *x = need((size_t)n * element);
    if (block == NULL) abort();
    for (int64_t i = 0; i < BLOCK; i++) {
        float value = (float)random_normal(1, RANDOM_TEST, (uint64_t)i);
        memcpy(block + (size_t)i * element, (char *)&value + (4 - element), element); // bf16 is the upper half
    }
    for (int64_t i = 0; i < n; i += BLOCK)
        device_copy(stream, x + (size_t)i * element, block, (size_t)(n - i < BLOCK ? n - i : BLOCK) * element);
    stream_synchronize(stream);
    free(block);
    return x;
}

static void run_gemm(void *what) {
    device_gemm(stream, what);
}

static void measure_gemm(const char *name, Type type, Type c_type, bool ta, bool tb, int64_t m, int64_t n,
                         int64_t k) {
    void *a = filled(type, m * k), *b = filled(type, n * k), *c = need((size_t)(m * n) * type_size(c_type));
    Gemm g = {
        .type = type, .c_type = c_type, .transpose_a = ta, .transpose_b = tb, .m = m, .n = n, .k = k, .alpha = 1};
    g.a = a, g.b = b, g.c = c, g.lda = ta ? m : k, g.ldb = tb ? k : n, g.ldc = n;
    double ms = median_ms(run_gemm, &g);
    printf("%s %s->%s %lldx%lldx%lld: %.3f ms, %.1f TFLOP/s\n", name, type_name(type), type_name(c_type),
           (long long)m, (long long)n, (long long)k, ms, 2e-9 * (double)m * (double)n * (double)k / ms);
    device_free(device, a), device_free(device, b), device_free(device, c);
}

int main(int argc, char **argv) {
    Error err;
    if (!device_open(&device, argc > 1 ? argv[1] : "cuda", 0, &err)) {
        fprintf(stderr, "error: %s\n", err.text);
        return 1;
    }
    stream = stream_create(device);
    printf("%s; %s\n", device->name, device->library);
    Copy copy = {.bytes = (size_t)2 << 30};
    copy.to = need(copy.bytes), copy.from = need(copy.bytes);
    double ms = median_ms(run_copy, &copy);
    printf("copy of 2 GiB within the device: %.3f ms, %.2f TB/s read and written\n", ms,
           2e-9 * (double)copy.bytes / ms);
    device_free(device, copy.to), device_free(device, copy.from);
    const int64_t tokens = 65536, d = 768;
    measure_gemm("square", TYPE_BF16, TYPE_BF16, false, false, 8192, 8192, 8192);
    measure_gemm("square", TYPE_F32, TYPE_F32, false, false, 4096, 4096, 4096);
    measure_gemm("qkv", TYPE_BF16, TYPE_BF16, false, true, tokens, 3 * d, d);
    measure_gemm("mlp up", TYPE_BF16, TYPE_BF16, false, true, tokens, 4 * d, d);
    measure_gemm("mlp down", TYPE_BF16, TYPE_BF16, false, true, tokens, d, 4 * d);
    measure_gemm("mlp up, weight gradient", TYPE_BF16, TYPE_F32, true, false, 4 * d, d, tokens);
    measure_gemm("head", TYPE_BF16, TYPE_BF16, false, true, 16384, 50304, d);
    measure_gemm("polar factor, A = X X^T", TYPE_BF16, TYPE_BF16, false, true, d, d, 4 * d);
    stream_destroy(stream);
    device_close(device);
    return 0;
}
