// Speed of the parts and of whole steps on this machine, as medians, against the limits of the machine: the rate of one
// large GEMM and the bandwidth of a triad, both measured in the same run. `make bench`; the arguments, if any, are
// the parts to run: demo, short, long, tokenizer.
#include "base/file.h"
#include "data/tokenizer/vocab.h"
#include "device/cpu/cpu.h"
#include "tests/bench/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static Device *device;
static Stream *stream;
static Ceilings ceilings;

double bench_now(void) {
    static int cpu = -1;
    if (cpu < 0) cpu = getenv("BENCH_CLOCK") && !strcmp(getenv("BENCH_CLOCK"), "cpu");
    struct timespec t;
    clock_gettime(cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Median seconds of one call, over at least 5 calls and about a second; the first call is not counted.
static double median_time(void (*call)(void *), void *context) {
    double times[200], total = 0;
    int n = 0;
    call(context);
    while (n < 200 && (n < 5 || total < 1)) {
        double start = bench_now();
        call(context);
        times[n] = bench_now() - start;
        total += times[n++];
    }
    qsort(times, (size_t)n, sizeof *times, by_value);
    return times[n / 2];
}

static float *filled(int64_t n, double scale) {
    float *x = device_alloc(device, (size_t)n * sizeof *x);
    if (x == NULL) exit((fprintf(stderr, "error: not enough memory for the benchmark\n"), 1));
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * ((double)(i * 7919 % 1000) / 500 - 1));
    return x;
}

static void run_gemm(void *g) {
    device_gemm(stream, g);
}

typedef struct {
    float *a;
    const float *b, *c;
    int64_t n;
} Triad;

static void run_triad(void *context) {
    Triad t = *(Triad *)context;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < t.n; i++) t.a[i] = t.b[i] + 0.5f * t.c[i];
}

// The line that is written is read first, so that a triad moves four arrays (STREAM counts three).
static void measure_ceilings(void) {
    int64_t n = 2048, m = 16 << 20;
    Gemm g = {
        .type = TYPE_F32, .c_type = TYPE_F32, .m = n, .n = n, .k = n, .alpha = 1, .lda = n, .ldb = n, .ldc = n};
    float *a = filled(n * n, 1), *b = filled(n * n, 1), *c = filled(n * n, 1);
    g.a = a, g.b = b, g.c = c;
    ceilings.flops = 2.0 * (double)n * (double)n * (double)n / median_time(run_gemm, &g);
    Triad t = {filled(m, 1), filled(m, 1), filled(m, 1), m};
    ceilings.bandwidth = 4.0 * 4 * (double)m / median_time(run_triad, &t);
    void *blocks[] = {a, b, c, t.a, (void *)t.b, (void *)t.c};
    for (int i = 0; i < 6; i++) device_free(device, blocks[i]);
    printf("%s, %d threads\n%s\n", device->name, device->n_threads, device->library);
    printf("product 2048^3  %7.1f GFLOP/s      triad of 3 x 64 MiB  %6.1f GB/s\n\n", ceilings.flops * 1e-9,
           ceilings.bandwidth * 1e-9);
}

typedef struct {
    Model model;
    Batch batch;
    Optimizer *optimizer;
    int passes; // of the batch, a micro-batch, in a step
    int64_t t;
} Bench;

static Batch random_batch(int B, int T, int vocab) {
    Batch batch;
    batch_layout(&batch, device_alloc(device, (size_t)batch_bytes(B, T)), B, T);
    for (int i = 0; i < B * T; i++) {
        batch.tokens[i] = (int32_t)((int64_t)i * i * 31 % vocab);
        batch.targets[i] = (int32_t)((int64_t)i * 7919 % vocab);
    }
    int32_t *scratch = calloc((size_t)vocab + 1, sizeof *scratch);
    batch_index(&batch, scratch, vocab);
    free(scratch);
    return batch;
}

static void run_forward(Bench *b) {
    profile_begin("forward");
    for (int i = 0; i < b->passes; i++) model_forward_loss(&b->model, stream, &b->batch, NULL);
    profile_end();
}

static void run_forward_backward(Bench *b) {
    profile_begin("forward and backward");
    double scale = 1.0 / (b->passes * b->batch.B * b->batch.T);
    for (int i = 0; i < b->passes; i++) model_forward_backward(&b->model, stream, &b->batch, scale, i > 0, NULL);
    profile_end();
}

static void run_optimizer(Bench *b, const char *name) {
    Model *m = &b->model;
    profile_begin(name);
    optimizer_step(b->optimizer, stream, m->master, m->weights, m->grads, m->loss, b->t++, 1000, 1, 0, INFINITY);
    profile_end();
}

// The first step is not counted.
static void bench_optimizer(Bench *b, const char *name, int steps) {
    Error err;
    ParamGroupOptions settings[GROUP_COUNT];
    for (int g = 0; g < GROUP_COUNT; g++)
        param_group_init(&settings[g], optimizer_find(g == GROUP_HIDDEN ? name : "adamw", &err));
    b->optimizer = optimizer_create(device, TYPE_F32, &b->model.table, settings, &err);
    if (b->optimizer == NULL) exit((fprintf(stderr, "error: %s\n", err.text), 1));
    Model *m = &b->model;
    optimizer_step(b->optimizer, stream, m->master, m->weights, m->grads, m->loss, b->t++, 1000, 1, 0, INFINITY);
    for (int i = 0; i < steps; i++) run_optimizer(b, name);
    optimizer_free(b->optimizer);
}

static void bench_model(const char *title, const ModelConfig *config, int passes, int B, int T, int repeats,
                        double least_ms, const char *const *optimizers) {
    Error err;
    Bench b = {.passes = passes};
    if (!model_create(&b.model, config, device, TYPE_F32, &(BatchShape){.B = B, .T = T}, &err))
        exit((fprintf(stderr, "error: %s\n", err.text), 1));
    profile_layers(&b.model);
    model_init_weights(&b.model, stream, 1);
    b.batch = random_batch(B, T, config->vocab_size);
    printf("%s, batch %d x %d tokens in micro-batches of %d, %.1f M parameters\n", title, passes * B, T, B,
           (double)b.model.table.total * 1e-6);
    model_forward_backward(&b.model, stream, &b.batch, 1.0 / (B * T), false, NULL);
    for (int i = 0; i < repeats; i++) run_forward(&b);
    for (int i = 0; i < repeats; i++) run_forward_backward(&b);
    profile_print(&ceilings, least_ms);
    for (; *optimizers; optimizers++) {
        bench_optimizer(&b, *optimizers, strcmp(*optimizers, "adamw") ? 3 : 5);
        profile_print(&ceilings, least_ms);
    }
    printf("\n");
    model_free(&b.model);
    device_free(device, b.batch.tokens);
}

typedef struct {
    Vocab *vocab;
    char *text;
    size_t size;
    uint16_t *tokens;
} Encoding;

static void run_encode(void *context) {
    Encoding *e = context;
    VocabEncoder *encoder = vocab_encoder_create(e->vocab);
    vocab_encode(e->tokens, encoder, e->text, e->size);
    vocab_encoder_free(encoder);
}

// One thread over a megabyte of text, its memory of words empty at the start.
static void bench_tokenizer(const char *folder) {
    char vocab[4096], text[4096];
    Error err;
    Encoding e = {0};
    snprintf(vocab, sizeof vocab, "%s/r50k_base.tiktoken", folder);
    snprintf(text, sizeof text, "%s/tinyshakespeare.txt", folder);
    e.vocab = vocab_open(vocab, &err);
    e.text = e.vocab ? file_read_whole(&e.size, text, 1 << 24, &err) : NULL;
    if (e.text == NULL) exit((fprintf(stderr, "error: %s\n", err.text), 1));
    e.tokens = malloc(3 * e.size * sizeof *e.tokens);
    printf("GPT-2's tokenizer, one thread %9.1f MB/s\n\n", 1e-6 * (double)e.size / median_time(run_encode, &e));
    free(e.tokens);
    free(e.text);
    vocab_close(e.vocab);
}

static bool asked(char **parts, const char *part) {
    if (*parts == NULL) return true;
    for (; *parts; parts++)
        if (!strcmp(*parts, part)) return true;
    return false;
}

int main(int argc, char **argv) {
    (void)argc;
    cpu_threads_limit_spin(argv); // as ./train does
    setvbuf(stdout, NULL, _IOLBF, 0);
    Error err;
    if (!device_open(&device, "cpu", 0, &err)) exit((fprintf(stderr, "error: %s\n", err.text), 1));
    stream = stream_create(device);
    measure_ceilings();
    profile_device(device);
    char **parts = argv + 1;
    if (getenv("TEST_DATA") && asked(parts, "tokenizer")) bench_tokenizer(getenv("TEST_DATA"));
    ModelConfig gpt2 = {.n_layer = 12,
                        .n_head = 12,
                        .n_kv_head = 12,
                        .d_model = 768,
                        .head_dim = 64,
                        .d_ff = 3072,
                        .vocab_size = 50257,
                        .vocab_padded = 50304,
                        .context = 1024,
                        .norm_eps = 1e-5,
                        .biases = BIASES_ALL,
                        .norm_gain = true,
                        .norm_bias = true,
                        .tied_head = true,
                        .mask_padding = true,
                        .init_std = 0.02};
    ModelConfig demo = gpt2; // configs/demo.conf
    demo.n_layer = 4, demo.n_head = demo.n_kv_head = 2, demo.d_model = 128, demo.head_dim = 64, demo.d_ff = 512;
    demo.vocab_size = 257, demo.vocab_padded = 272, demo.context = 128;
    static const char *const several[] = {"adamw", "muon", "normuon", NULL}, *const adamw[] = {"adamw", NULL};
    if (asked(parts, "demo")) bench_model("the demo's network", &demo, 4, 8, 128, 15, 0.2, several);
    if (asked(parts, "short")) bench_model("GPT-2 124M", &gpt2, 1, 4, 64, 5, 2, several);
    if (asked(parts, "long")) bench_model("GPT-2 124M", &gpt2, 1, 1, 1024, 3, 5, adamw);
    stream_destroy(stream);
    device_close(device);
    return 0;
}
