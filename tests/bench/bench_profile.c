// Profiles the operations: wraps every entry of the tables of the backend, the model and the optimizers to count time,
// FLOPs (half for symmetric GEMMs) and the bytes that must move.
#include "tests/bench/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 128, MAX_REPEATS = 16 };

typedef struct {
    const char *phase;
    char what[64];
    int calls; // in a repeat
    double flops, bytes, seconds[MAX_REPEATS];
    int repeats;
} Row;

static Row listed[MAX_ROWS];
static int n_listed;
static const char *phase;
static double phase_start;

static Row *row_of(const char *what) {
    for (int i = 0; i < n_listed; i++)
        if (listed[i].phase == phase && !strcmp(listed[i].what, what)) return &listed[i];
    ASSERT(n_listed < MAX_ROWS);
    Row *row = &listed[n_listed++];
    *row = (Row){.phase = phase};
    snprintf(row->what, sizeof row->what, "%s", what);
    return row;
}

static void tally(const char *what, double start, double flops, double bytes) {
    if (phase == NULL) return;
    Row *row = row_of(what), *all = row_of("all");
    int repeat = all->repeats;
    row->repeats = repeat + 1;
    row->seconds[repeat] += bench_now() - start;
    if (repeat == 0) {
        row->calls++, row->flops += flops, row->bytes += bytes;
        all->flops += flops;
    }
}

void profile_begin(const char *name) {
    phase = name;
    ASSERT(row_of("all")->repeats < MAX_REPEATS);
    phase_start = bench_now();
}

void profile_end(void) {
    Row *all = row_of("all");
    all->seconds[all->repeats++] = bench_now() - phase_start;
    all->calls = 1;
    phase = NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(Row *row) {
    qsort(row->seconds, (size_t)row->repeats, sizeof row->seconds[0], by_value);
    return row->seconds[row->repeats / 2];
}

static void print_row(const char *what, int calls, double ms, double floor_ms, double flops, double bytes) {
    printf("    %-34s %4d %10.2f %10.2f", what, calls, ms, floor_ms);
    if (floor_ms > 0) printf(" %6.2f", ms / floor_ms);
    else printf("       ");
    if (flops > 0) printf("  %5.0f GFLOP/s", 1e-6 * flops / ms);
    else if (bytes > 0) printf("  %5.1f GB/s", 1e-6 * bytes / ms);
    printf("\n");
}

void profile_print(const Ceilings *ceilings, double least_ms) {
    printf("    %-34s calls         ms   floor ms  ratio\n", "operation");
    const char *last = NULL;
    for (int i = 0; i < n_listed; i++) {
        if (listed[i].phase == last) continue;
        last = listed[i].phase;
        printf("  %s\n", last);
        double floor = 0, small = 0, small_floor = 0, products = 0, products_floor = 0;
        int small_calls = 0, n_products = 0;
        Row *all = NULL;
        for (int j = i; j < n_listed; j++) {
            Row *r = &listed[j];
            if (r->phase != last) continue;
            if (!strcmp(r->what, "all")) {
                all = r;
                continue;
            }
            double ms = 1e3 * median(r),
                   own = 1e3 * fmax(r->flops / ceilings->flops, r->bytes / ceilings->bandwidth);
            floor += own;
            if (r->flops > 0) products += ms, products_floor += own, n_products += r->calls;
            if (ms < least_ms) small += ms, small_floor += own, small_calls += r->calls;
            else print_row(r->what, r->calls, ms, own, r->flops, r->bytes);
        }
        if (small_calls) print_row("shorter ones", small_calls, small, small_floor, 0, 0);
        if (n_products) print_row("all products", n_products, products, products_floor, all->flops, 0);
        print_row("the whole", 1, 1e3 * median(all), floor, all->flops, 0);
    }
    n_listed = 0;
}

// ---- the backend ----

static DeviceBackend device_timed;
static const DeviceBackend *device_real;

static void timed_gemm(Stream *s, const Gemm *g) {
    char what[64];
    double n_products = g->batch ? (double)g->batch : 1;
    snprintf(what, sizeof what, "product %lld x %lld x %lld %s%s%s%s", (long long)g->m, (long long)g->n,
             (long long)g->k, g->transpose_a ? "t" : "n", g->transpose_b ? "t" : "n", g->bias ? " bias" : "",
             g->symmetric ? " sym" : "");
    double start = bench_now();
    device_real->gemm(s, g);
    double flops = 2.0 * (double)g->m * (double)g->n * (double)g->k * n_products;
    tally(what, start, g->symmetric ? flops / 2 : flops, 0);
}

static void timed_zero(Stream *s, void *memory, size_t bytes) {
    double start = bench_now();
    device_real->zero(s, memory, bytes);
    tally("zero", start, 0, (double)bytes);
}

static void timed_copy(Stream *s, void *to, const void *from, size_t bytes) {
    double start = bench_now();
    device_real->copy(s, to, from, bytes);
    tally("copy", start, 0, 2 * (double)bytes);
}

void profile_device(Device *device) {
    device_timed = *(device_real = device->backend);
    device_timed.gemm = timed_gemm;
    device_timed.zero = timed_zero;
    device_timed.copy = timed_copy;
    device->backend = &device_timed;
}

// ---- the model; bytes are of floats ----

static LayerOps layers_timed;
static const LayerOps *layers;

#define TIMED(name, Arguments, table, flops, elements)                                                             \
    static void timed_##name(Stream *s, const Arguments *a) {                                                      \
        double start = bench_now();                                                                                \
        table->name(s, a);                                                                                         \
        tally(#name, start, flops, 4.0 * (double)(elements));                                                      \
    }

// The two products of a causal tile and those of its gradient: half of the dense ones.
static double attention_flops(const AttentionShape *a) {
    return 2.0 * a->B * a->n_head * (double)a->q_len * (a->kv_len + 1) * a->head_dim;
}

static int64_t attention_elements(const AttentionShape *a) {
    return (int64_t)a->B * a->q_len * a->head_dim * (2 * a->n_head + 2 * a->n_kv_head);
}

TIMED(embedding_forward, EmbeddingForward, layers, 0, 3 * a->batch->B * a->batch->T * a->C)
TIMED(embedding_backward, EmbeddingBackward, layers, 0,
      (int64_t)a->C *(2 * a->batch->B * a->batch->T + 2 * *a->batch->n_unique + 2 * a->batch->T))
TIMED(norm_forward, NormForward, layers, 0, a->N * a->C * (a->delta ? 4 : 2))
TIMED(norm_backward, NormBackward, layers, 0, a->N * a->C * 4)
TIMED(activation_forward, ActivationForward, layers, 0, 2 * a->n)
TIMED(activation_backward, ActivationBackward, layers, 0, 3 * a->n)
TIMED(attention_forward, AttentionForward, layers, attention_flops(&a->shape), attention_elements(&a->shape))
TIMED(attention_backward, AttentionBackward, layers, 2.5 * attention_flops(&a->shape),
      2 * attention_elements(&a->shape))
TIMED(cross_entropy, CrossEntropy, layers, 0, a->n * a->V * (a->scale != 0 ? 2 : 1))
TIMED(bias_backward, BiasBackward, layers, 0, a->N * a->C)
TIMED(loss_sum, LossSum, layers, 0, a->n)

void profile_layers(Model *model) {
    layers_timed = *(layers = model->ops);
    layers_timed.embedding_forward = timed_embedding_forward;
    layers_timed.embedding_backward = timed_embedding_backward;
    layers_timed.norm_forward = timed_norm_forward;
    layers_timed.norm_backward = timed_norm_backward;
    layers_timed.activation_forward = timed_activation_forward;
    layers_timed.activation_backward = timed_activation_backward;
    layers_timed.attention_forward = timed_attention_forward;
    layers_timed.attention_backward = timed_attention_backward;
    layers_timed.cross_entropy = timed_cross_entropy;
    layers_timed.bias_backward = timed_bias_backward;
    layers_timed.loss_sum = timed_loss_sum;
    model->ops = &layers_timed;
}

// ---- the optimizers: their table is wrapped by the linker ----

static OptimOps optim_timed;
static const OptimOps *optim;

static int64_t batch_elements(const MatrixBatch *x) {
    return x->count * x->rows * x->cols;
}

TIMED(row_sum_squares, RowSumSquares, optim, 0, a->count * a->rows * a->cols)
TIMED(step_guard, StepGuard, optim, 0, 2 * a->n)
TIMED(adamw_update, ElementUpdate, optim, 0, 7 * batch_elements(a->batch))
TIMED(polar_momentum, PolarMomentum, optim, 0, 4 * batch_elements(a->batch))
TIMED(polar_scale, PolarScale, optim, 0, 2 * a->count * a->rows * a->cols)
TIMED(row_factors, RowFactors, optim, 0, 6 * a->batch->count * a->batch->rows)
TIMED(polar_update, PolarUpdate, optim, 0, 3 * batch_elements(a->batch))

const OptimOps *__real_optim_ops(const Device *device, Type type);
const OptimOps *__wrap_optim_ops(const Device *device, Type type);

const OptimOps *__wrap_optim_ops(const Device *device, Type type) {
    if ((optim = __real_optim_ops(device, type)) == NULL) return NULL;
    optim_timed = *optim;
    optim_timed.row_sum_squares = timed_row_sum_squares;
    optim_timed.step_guard = timed_step_guard;
    optim_timed.adamw_update = timed_adamw_update;
    optim_timed.polar_momentum = timed_polar_momentum;
    optim_timed.polar_scale = timed_polar_scale;
    optim_timed.row_factors = timed_row_factors;
    optim_timed.polar_update = timed_polar_update;
    return &optim_timed;
}
