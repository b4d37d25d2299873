// Limits of the GPU, through the program's own backend: copy bandwidth, and GEMM rates on random
// data, large and in the shapes of GPT-2 124M; then its own kernels beside these ceilings.
//   build/tests/gpu_ceilings [cuda:N [DIVISOR]]
// With a DIVISOR above 1 every length is divided by it and measured once, as a smoke test.
#include "tests/bench/gpu_ceilings.h"

#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gpu_median_ms(const Gpu *gpu, void (*run)(const Gpu *, void *), void *context) {
    double ms[MAX_REPEATS];
    Event *from = event_create(gpu->device), *to = event_create(gpu->device);
    for (int i = gpu->repeats < 3 ? -gpu->repeats : -3; i < gpu->repeats; i++) {
        event_record(from, gpu->stream);
        run(gpu, context);
        event_record(to, gpu->stream);
        stream_synchronize(gpu->stream);
        if (i >= 0) ms[i] = event_elapsed_ms(from, to);
    }
    event_destroy(from), event_destroy(to);
    qsort(ms, (size_t)gpu->repeats, sizeof *ms, compare);
    return ms[gpu->repeats / 2];
}

void *gpu_need(const Gpu *gpu, size_t bytes) {
    void *memory = device_alloc(gpu->device, bytes);
    if (memory == NULL) exit((fprintf(stderr, "error: %s has no %zu bytes left\n", gpu->device->name, bytes), 1));
    return memory;
}

typedef struct {
    char *to, *from;
    size_t bytes;
} Copy;

static void run_copy(const Gpu *gpu, void *context) {
    Copy *c = context;
    device_copy(gpu->stream, c->to, c->from, c->bytes);
}

// GEMMs of zeros run faster than GEMMs of data. One random block is repeated.
void *gpu_filled(const Gpu *gpu, Type type, int64_t n, double scale) {
    enum { BLOCK = 1 << 18 };
    size_t element = type_size(type);
    char *block = malloc(BLOCK * element), *x = gpu_need(gpu, (size_t)n * element);
    if (block == NULL) abort();
    for (int64_t i = 0; i < BLOCK; i++) {
        float value = (float)(scale * random_normal(1, RANDOM_TEST, (uint64_t)i));
        memcpy(block + (size_t)i * element, (char *)&value + (4 - element), element); // bf16 is the upper half
    }
    for (int64_t i = 0; i < n; i += BLOCK)
        device_copy(gpu->stream, x + (size_t)i * element, block, (size_t)(n - i < BLOCK ? n - i : BLOCK) * element);
    stream_synchronize(gpu->stream);
    free(block);
    return x;
}

static void run_gemm(const Gpu *gpu, void *context) {
    device_gemm(gpu->stream, context);
}

typedef struct {
    const char *name;
    Type c_type;
    bool ta, tb;
    int64_t m, n, k;
    int batch;
    bool adds; // to C
} Product;

// Returns FLOP/s.
static double measure_gemm(const Gpu *gpu, Type type, const Product *p) {
    int64_t batch = p->batch ? p->batch : 1, m = p->m, n = p->n, k = p->k;
    void *a = gpu_filled(gpu, type, batch * m * k, 1), *b = gpu_filled(gpu, type, batch * n * k, 1);
    void *c = gpu_need(gpu, (size_t)(batch * m * n) * type_size(p->c_type));
    Gemm g = {.type = type,
              .c_type = p->c_type,
              .transpose_a = p->ta,
              .transpose_b = p->tb,
              .m = m,
              .n = n,
              .k = k,
              .alpha = 1};
    g.a = a, g.b = b, g.c = c, g.lda = p->ta ? m : k, g.ldb = p->tb ? k : n, g.ldc = n, g.beta = p->adds;
    g.batch = batch, g.stride_a = m * k, g.stride_b = n * k, g.stride_c = m * n;
    double ms = gpu_median_ms(gpu, run_gemm, &g);
    double flops = 2e3 * (double)batch * (double)m * (double)n * (double)k / ms;
    printf("%s %s->%s %lldx%lldx%lld", p->name, type_name(type), type_name(p->c_type), (long long)m, (long long)n,
           (long long)k);
    if (batch > 1) printf(" x %lld", (long long)batch);
    printf(": %.3f ms, %.1f TFLOP/s", ms, 1e-12 * flops);
    if (gpu->product_flops > 0 && type == TYPE_BF16)
        printf(", %.0f %% of the square product", 100 * flops / gpu->product_flops);
    printf("\n");
    fflush(stdout);
    device_free(gpu->device, a), device_free(gpu->device, b), device_free(gpu->device, c);
    return flops;
}

static void measure_copy(Gpu *gpu, size_t bytes) {
    Copy copy = {.to = gpu_need(gpu, bytes), .from = gpu_need(gpu, bytes), .bytes = bytes};
    double ms = gpu_median_ms(gpu, run_copy, &copy);
    gpu->bandwidth = 2e3 * (double)bytes / ms;
    printf("copy of %.0f MiB within the device: %.3f ms, %.2f TB/s read and written\n", (double)bytes / 1048576, ms,
           1e-12 * gpu->bandwidth);
    device_free(gpu->device, copy.to), device_free(gpu->device, copy.from);
}

int main(int argc, char **argv) {
    Gpu gpu = {0};
    Error err;
    if (!device_open(&gpu.device, argc > 1 ? argv[1] : "cuda", 0, &err)) {
        fprintf(stderr, "error: %s\n", err.text);
        return 1;
    }
    gpu.stream = stream_create(gpu.device);
    printf("%s; %s\n", gpu.device->name, gpu.device->library);
    int less = argc > 2 ? atoi(argv[2]) : 1;
    if (less < 1) less = 1;
    gpu.repeats = less > 1 ? 1 : MAX_REPEATS;
    const int B = less > 64 ? 1 : 64 / less, T = 1024 / less,
              C = 768 / less / 64 * 64 > 64 ? 768 / less / 64 * 64 : 64;
    const int V = 50304 / less / 64 * 64, square = 8192 / less;
    const int64_t N = (int64_t)B * T, F = 4 * C, rows = N < 10624 ? N : 10624; // of a chunk of logits
    measure_copy(&gpu, ((size_t)2 << 30) / (size_t)less);
    gpu.product_flops =
        measure_gemm(&gpu, TYPE_BF16, &(Product){"square", TYPE_BF16, .m = square, .n = square, .k = square});
    measure_gemm(&gpu, TYPE_F32, &(Product){"square", TYPE_F32, .m = square / 2, .n = square / 2, .k = square / 2});
    const Product products[] = {{"qkv", TYPE_BF16, false, true, N, 3 * C, C, 0, false},
                                {"projection", TYPE_BF16, false, true, N, C, C, 0, false},
                                {"mlp up", TYPE_BF16, false, true, N, F, C, 0, false},
                                {"mlp down", TYPE_BF16, false, true, N, C, F, 0, false},
                                {"mlp up, input gradient", TYPE_BF16, false, false, N, C, F, 0, false},
                                {"mlp up, weight gradient", TYPE_F32, true, false, F, C, N, 0, true},
                                {"projection, weight gradient", TYPE_F32, true, false, C, C, N, 0, true},
                                {"head", TYPE_BF16, false, true, rows, V, C, 0, false},
                                {"head, input gradient", TYPE_BF16, false, false, rows, C, V, 0, false},
                                {"head, weight gradient", TYPE_F32, true, false, V, C, rows, 0, true},
                                {"polar factor, A = X X^T", TYPE_BF16, false, true, C, C, F, 12, false},
                                {"polar factor, A A", TYPE_BF16, false, true, C, C, C, 12, false},
                                {"polar factor, P X", TYPE_BF16, false, false, C, F, C, 12, false}};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) measure_gemm(&gpu, TYPE_BF16, &products[i]);
    gpu_measure_symmetric(&gpu, less);
    gpu_measure_operations(&gpu, B, T, C, V);
    stream_destroy(gpu.stream);
    device_close(gpu.device);
    return 0;
}
