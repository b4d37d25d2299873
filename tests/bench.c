// Speed of the parts and of whole steps on this machine, as medians, against what the machine can do: the rate of one
// large product and the bandwidth of a copy, both measured in the same run. `make bench`.
#include "data/file.h"
#include "data/vocab.h"
#include "device/cpu.h"
#include "model/model.h"
#include "optim/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static Device *device;
static Stream *stream;
static double peak_flops, copy_bandwidth; // per second

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
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
        double start = now();
        call(context);
        times[n] = now() - start;
        total += times[n++];
    }
    qsort(times, (size_t)n, sizeof *times, by_value);
    return times[n / 2];
}

static void *filled(int64_t n, double scale) {
    float *x = device_alloc(device, (size_t)n * sizeof *x);
    if (x == NULL) exit((fprintf(stderr, "error: not enough memory for the benchmark\n"), 1));
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * ((double)(i * 7919 % 1000) / 500 - 1));
    return x;
}

static void run_gemm(void *g) {
    device_gemm(stream, g);
}

typedef struct {
    void *to, *from;
    size_t bytes;
} Copy;

// A copy by all threads: memcpy alone would use one.
static void run_copy(void *context) {
    Copy *c = context;
    enum { PIECES = 64 };
#pragma omp parallel for schedule(static)
    for (int i = 0; i < PIECES; i++)
        memcpy((char *)c->to + c->bytes / PIECES * (size_t)i, (char *)c->from + c->bytes / PIECES * (size_t)i,
               c->bytes / PIECES);
}

static void measure_ceilings(void) {
    int64_t n = 2048, m = 64 << 20;
    Gemm g = {
        .type = TYPE_F32, .c_type = TYPE_F32, .m = n, .n = n, .k = n, .alpha = 1, .lda = n, .ldb = n, .ldc = n};
    g.a = filled(n * n, 1), g.b = filled(n * n, 1), g.c = filled(n * n, 1);
    peak_flops = 2.0 * (double)n * (double)n * (double)n / median_time(run_gemm, &g);
    Copy c = {filled(m / 4, 1), filled(m / 4, 1), (size_t)m};
    copy_bandwidth = 2.0 * (double)m / median_time(run_copy, &c);
    void *blocks[] = {(void *)g.a, (void *)g.b, g.c, c.to, c.from};
    for (int i = 0; i < 5; i++) device_free(device, blocks[i]);
    printf("%s, %d threads\n%s\n", device->name, device->n_threads, device->library);
    printf("product 2048^3  %7.1f GFLOP/s      copy of 64 MiB  %6.1f GB/s (read and written)\n\n",
           peak_flops * 1e-9, copy_bandwidth * 1e-9);
}

typedef struct {
    Model model;
    Batch batch;
    Optimizer *optimizer;
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

static void run_forward(void *context) {
    Bench *b = context;
    model_forward_loss(&b->model, stream, &b->batch, NULL);
}

static void run_forward_backward(void *context) {
    Bench *b = context;
    model_forward_backward(&b->model, stream, &b->batch, 1.0 / (b->batch.B * b->batch.T), false, NULL);
}

static void run_optimizer(void *context) {
    Bench *b = context;
    Model *m = &b->model;
    optimizer_step(b->optimizer, stream, m->master, m->weights, m->grads, m->loss, b->t++, 1000, 1, 0, INFINITY);
}

static void bench_optimizer(Bench *b, const char *name, double *adamw) {
    Error err;
    GroupSettings settings[GROUP_COUNT];
    for (int g = 0; g < GROUP_COUNT; g++)
        group_settings_init(&settings[g], optimizer_find(g == GROUP_HIDDEN ? name : "adamw", &err));
    b->optimizer = optimizer_create(device, TYPE_F32, &b->model.table, settings, &err);
    if (b->optimizer == NULL) exit((fprintf(stderr, "error: %s\n", err.text), 1));
    double seconds = median_time(run_optimizer, b);
    if (*adamw == 0) *adamw = seconds;
    printf("  %-10s %9.1f ms  %6.2f times AdamW\n", name, seconds * 1e3, seconds / *adamw);
    optimizer_free(b->optimizer);
}

static void bench_model(const char *title, const ModelConfig *config, int B, int T, bool optimizers) {
    Error err;
    Bench b = {.t = 0};
    if (!model_create(&b.model, config, device, TYPE_F32, &(ModelRun){.B = B, .T = T}, &err))
        exit((fprintf(stderr, "error: %s\n", err.text), 1));
    model_init_weights(&b.model, stream, 1);
    b.batch = random_batch(B, T, config->vocab_size);
    double flops = model_flops_per_token(config, T) * B * T, floor = flops / peak_flops;
    double both = median_time(run_forward_backward, &b), forward = median_time(run_forward, &b);
    printf("%s, batch %d x %d tokens, %.0f M parameters\n", title, B, T, (double)b.model.table.total * 1e-6);
    printf("  forward    %9.1f ms\n", forward * 1e3);
    printf("  + backward %9.1f ms  %6.0f GFLOP/s nominal, %.0f %% of the product's rate, %.0f tokens/s\n",
           both * 1e3, flops / both * 1e-9, 100 * floor / both, B * T / both);
    double adamw = 0;
    int count = 0;
    const OptimizerDef *const *registry = optimizer_registry(&count);
    if (optimizers) bench_optimizer(&b, "adamw", &adamw);
    for (int i = 0; i < count && optimizers; i++)
        if (strcmp(registry[i]->name, "adamw")) bench_optimizer(&b, registry[i]->name, &adamw);
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

int main(int argc, char **argv) {
    (void)argc;
    cpu_threads_settle(argv); // as ./train does
    Error err;
    if (!device_open(&device, "cpu", 0, &err)) exit((fprintf(stderr, "error: %s\n", err.text), 1));
    stream = stream_create(device);
    measure_ceilings();
    if (getenv("TEST_DATA")) bench_tokenizer(getenv("TEST_DATA"));
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
    ModelConfig demo = gpt2;
    demo.n_layer = 4, demo.n_head = demo.n_kv_head = 4, demo.d_model = 128, demo.head_dim = 32, demo.d_ff = 512;
    demo.vocab_size = 257, demo.vocab_padded = 272, demo.context = 128;
    bench_model("the demo's byte-level network", &demo, 32, 128, true);
    bench_model("GPT-2 124M", &gpt2, 4, 64, true);
    bench_model("GPT-2 124M", &gpt2, 1, 1024, false);
    stream_destroy(stream);
    device_close(device);
    return 0;
}
