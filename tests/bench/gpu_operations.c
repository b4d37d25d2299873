// Times of the operations of a training step of GPT-2 124M in bf16, beside the GPU's bandwidth and GEMM rate. Bytes
// are the minimum traffic, each array once; FLOPs of attention are those below the diagonal.
#include "model/ops.h"
#include "optim/ops.h"
#include "tests/bench/gpu_ceilings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEAD_DIM = 64, LAYERS = 12, N_ARRAYS = 6 };
static const int64_t CHUNK_BYTES = 1 << 30; // of logits, as in model/activations.c

typedef struct {
    const LayerOps *ops;
    const OptimOps *optim, *factors; // of master weights, of polar factors in bf16
    int B, T, C, V, F;
    int64_t N, logits_rows;
    void *x[N_ARRAYS];        // (N, F) each: activations and gradients
    void *logits;             // (logits_rows, V)
    void *wte, *dwte, *dwpe;  // (V, C), (V, C), (T, C)
    void *stats[2], *gain;    // (N n_head), (F)
    AttentionShape attention; // q, k, v side by side
    Batch batch;              // device memory
    MatrixBatch matrices;     // LAYERS (F, C)
    void *u;                  // of them, in bf16
    double *sums, *loss;      // (LAYERS F), one
} Work;

static char *at(const Work *w, int array, int64_t column) {
    return (char *)w->x[array] + 2 * column;
}

#define OPERATION(name) static void name(const Gpu *gpu, void *context)
#define WORK                                                                                                       \
    const Work *w = context;                                                                                       \
    Stream *s = gpu->stream

OPERATION(embedding_forward) {
    WORK;
    w->ops->embedding_forward(
        s, &(EmbeddingForward){.out = w->x[0], .wte = w->wte, .wpe = w->dwpe, .batch = &w->batch, .C = w->C});
}
OPERATION(embedding_backward) {
    WORK;
    w->ops->embedding_backward(
        s, &(EmbeddingBackward){.dwte = w->dwte, .dwpe = w->dwpe, .dout = w->x[0], .batch = &w->batch, .C = w->C});
}
OPERATION(norm_forward) {
    WORK;
    w->ops->norm_forward(s, &(NormForward){.resid = w->x[0],    // (N, C)
                                           .out = w->x[1],      // (N, C)
                                           .mean = w->stats[0], // (N)
                                           .rstd = w->stats[1], // (N)
                                           .x = w->x[2],        // (N, C)
                                           .delta = w->x[3],    // (N, C)
                                           .gain = w->gain,     // (C)
                                           .bias = w->gain,     // (C)
                                           .kind = NORM_LAYERNORM,
                                           .eps = 1e-5,
                                           .N = w->N,
                                           .C = w->C});
}
OPERATION(norm_backward) {
    WORK;
    w->ops->norm_backward(s, &(NormBackward){.dx = w->x[0],       // (N, C)
                                             .dgain = w->dwpe,    // (C)
                                             .dbias = w->dwte,    // (C)
                                             .dout = w->x[1],     // (N, C)
                                             .x = w->x[2],        // (N, C)
                                             .mean = w->stats[0], // (N)
                                             .rstd = w->stats[1], // (N)
                                             .gain = w->gain,     // (C)
                                             .kind = NORM_LAYERNORM,
                                             .accumulate = true,
                                             .N = w->N,
                                             .C = w->C});
}
OPERATION(attention_forward) {
    WORK;
    w->ops->attention_forward(s, &(AttentionForward){.out = w->x[1],
                                                     .lse = w->stats[0],
                                                     .q = at(w, 0, 0),
                                                     .k = at(w, 0, w->C),
                                                     .v = at(w, 0, 2 * w->C),
                                                     .shape = w->attention});
}
OPERATION(attention_backward) {
    WORK;
    w->ops->attention_backward(s, &(AttentionBackward){.dq = at(w, 2, 0),
                                                       .dk = at(w, 2, w->C),
                                                       .dv = at(w, 2, 2 * w->C),
                                                       .delta = w->stats[1],
                                                       .dout = w->x[3],
                                                       .q = at(w, 0, 0),
                                                       .k = at(w, 0, w->C),
                                                       .v = at(w, 0, 2 * w->C),
                                                       .out = w->x[1],
                                                       .lse = w->stats[0],
                                                       .shape = w->attention});
}
OPERATION(gelu_forward) {
    WORK;
    w->ops->activation_forward(
        s, &(ActivationForward){.out = w->x[1], .in = w->x[0], .kind = ACTIVATION_GELU_TANH, .n = w->N * w->F});
}
OPERATION(gelu_backward) {
    WORK;
    w->ops->activation_backward(
        s, &(ActivationBackward){
               .din = w->x[1], .dout = w->x[2], .in = w->x[0], .kind = ACTIVATION_GELU_TANH, .n = w->N * w->F});
}
OPERATION(bias_backward) {
    WORK;
    w->ops->bias_backward(
        s, &(BiasBackward){.dbias = w->dwpe, .dout = w->x[0], .accumulate = true, .N = w->N, .C = w->F});
}
OPERATION(cross_entropy) {
    WORK;
    w->ops->cross_entropy(s, &(CrossEntropy){.losses = w->stats[0],
                                             .logits = w->logits,
                                             .targets = w->batch.targets,
                                             .scale = 1e-6,
                                             .n = w->logits_rows,
                                             .V = w->V,
                                             .Vp = w->V});
}
OPERATION(loss_sum) {
    WORK;
    w->ops->loss_sum(s, &(LossSum){.total = w->loss, .losses = w->stats[0], .n = w->N});
}
OPERATION(gradient_norm) {
    WORK;
    const MatrixBatch *m = &w->matrices;
    w->optim->row_sum_squares(s, &(RowSumSquares){.sums = w->sums,
                                                  .x = m->grads,
                                                  .stride = m->stride,
                                                  .count = m->count,
                                                  .rows = m->rows,
                                                  .cols = m->cols});
}
OPERATION(adamw) {
    WORK;
    w->optim->adamw_update(s, &(ElementUpdate){.batch = &w->matrices, .eps = 1e-8, .weight_decay = 0.1});
}
OPERATION(momentum) {
    WORK;
    w->factors->polar_momentum(
        s, &(PolarMomentum){.u = w->u, .row_sums = w->sums, .batch = &w->matrices, .nesterov = true});
}
OPERATION(scale) {
    WORK;
    const MatrixBatch *m = &w->matrices;
    w->factors->polar_scale(s, &(PolarScale){.x = w->u,
                                             .row_sums = w->sums,
                                             .count = m->count,
                                             .rows = m->rows,
                                             .cols = m->cols,
                                             .factor = 1,
                                             .eps = 1e-7});
}
OPERATION(row_sums) {
    WORK;
    const MatrixBatch *m = &w->matrices;
    w->factors->row_sum_squares(
        s,
        &(RowSumSquares){
            .sums = w->sums, .x = w->u, .stride = m->stride, .count = m->count, .rows = m->rows, .cols = m->cols});
}
OPERATION(update) {
    WORK;
    w->factors->polar_update(
        s, &(PolarUpdate){.batch = &w->matrices, .o = w->u, .factors = w->sums, .weight_decay = 0.1});
}

static void measure(const Gpu *gpu, Work *w, const char *name, void (*run)(const Gpu *, void *), double bytes,
                    double flops) {
    double ms = gpu_median_ms(gpu, run, w), rate = 1e3 * (flops > 0 ? flops : bytes) / ms;
    if (flops > 0)
        printf("%s: %.3f ms, %.1f TFLOP/s, %.0f %% of the square product\n", name, ms, 1e-12 * rate,
               100 * rate / gpu->product_flops);
    else
        printf("%s: %.3f ms, %.2f GB, %.2f TB/s, %.0f %% of the copy\n", name, ms, 1e-9 * bytes, 1e-12 * rate,
               100 * rate / gpu->bandwidth);
    fflush(stdout);
}

// Tokens and targets of any kind; the index as the loader makes it.
static int64_t make_batch(const Gpu *gpu, Work *w) {
    size_t bytes = (size_t)batch_bytes(w->B, w->T);
    void *memory = calloc(1, bytes), *there = gpu_need(gpu, bytes);
    int32_t *scratch = malloc(((size_t)w->V + 1) * sizeof *scratch);
    if (memory == NULL || scratch == NULL) abort();
    Batch host;
    batch_layout(&host, memory, w->B, w->T);
    for (int64_t i = 0; i < w->N; i++) {
        host.tokens[i] = (int32_t)(i * i * 31 % w->V);
        host.targets[i] = (int32_t)(i * 7919 % w->V);
    }
    batch_index(&host, scratch, w->V);
    int64_t distinct = *host.n_unique;
    device_copy(gpu->stream, there, memory, bytes);
    stream_synchronize(gpu->stream);
    batch_layout(&w->batch, there, w->B, w->T);
    free(scratch), free(memory);
    return distinct;
}

static void make_matrices(const Gpu *gpu, Work *w) {
    int64_t stride = (int64_t)w->F * w->C, n = LAYERS * stride;
    StepInputs inputs = {.loss_limit = INFINITY};
    StepReport report = {.applied = 1, .clip_scale = 1, .ok = 1};
    for (int g = 0; g < GROUP_COUNT; g++) {
        inputs.lr[g] = 1e-4, inputs.momentum[g] = 0.95, inputs.beta1[g] = 0.9, inputs.beta2[g] = 0.95;
        report.bias_correction1[g] = 0.1, report.bias_correction2[g] = 0.05;
    }
    StepInputs *inputs_there = gpu_need(gpu, sizeof inputs);
    StepReport *report_there = gpu_need(gpu, sizeof report);
    device_copy(gpu->stream, inputs_there, &inputs, sizeof inputs);
    device_copy(gpu->stream, report_there, &report, sizeof report);
    stream_synchronize(gpu->stream);
    w->matrices = (MatrixBatch){.count = LAYERS,
                                .rows = w->F,
                                .cols = w->C,
                                .stride = stride,
                                .master = gpu_filled(gpu, TYPE_F32, n, 0.02),
                                .weights = gpu_filled(gpu, TYPE_BF16, n, 0.02),
                                .weights_type = TYPE_BF16,
                                .grads = gpu_filled(gpu, TYPE_F32, n, 1e-3),
                                .state = {gpu_filled(gpu, TYPE_F32, n, 1e-3), gpu_need(gpu, (size_t)n * 4)},
                                .state_stride = {stride, stride},
                                .group = GROUP_HIDDEN,
                                .inputs = inputs_there,
                                .report = report_there};
    w->u = gpu_filled(gpu, TYPE_BF16, n, 0.02);
    w->sums = gpu_need(gpu, sizeof(double) * LAYERS * (size_t)w->F);
}

static void measure_layers(const Gpu *gpu, Work *w, int64_t distinct) {
    double n = (double)w->N, c = n * w->C, f = n * w->F, v = (double)(w->logits_rows * w->V);
    double scores = n * w->T * w->C; // B n_head T^2 / 2 scores of 2 HEAD_DIM FLOPs
    measure(gpu, w, "embedding", embedding_forward, 4 * c, 0);
    measure(gpu, w, "add and LayerNorm", norm_forward, 8 * c, 0);
    measure(gpu, w, "attention", attention_forward, 0, 2 * scores);
    measure(gpu, w, "GELU", gelu_forward, 4 * f, 0);
    measure(gpu, w, "cross-entropy and gradient", cross_entropy, 4 * v, 0);
    measure(gpu, w, "sum of losses", loss_sum, 4 * n, 0);
    measure(gpu, w, "GELU, backward", gelu_backward, 6 * f, 0);
    measure(gpu, w, "attention, backward", attention_backward, 0, 5 * scores);
    measure(gpu, w, "LayerNorm, backward", norm_backward, 8 * c, 0);
    measure(gpu, w, "bias gradient", bias_backward, 2 * f, 0);
    measure(gpu, w, "embedding gradient", embedding_backward, 4 * c + 8.0 * (double)(distinct + w->T) * w->C, 0);
}

static void measure_optimizers(const Gpu *gpu, Work *w) {
    double parameters = (double)LAYERS * w->F * w->C;
    measure(gpu, w, "gradient norm", gradient_norm, 4 * parameters, 0);
    measure(gpu, w, "AdamW", adamw, 30 * parameters, 0);
    measure(gpu, w, "Muon, momentum", momentum, 14 * parameters, 0);
    measure(gpu, w, "Muon, division by the norm", scale, 4 * parameters, 0);
    measure(gpu, w, "NorMuon, row sums", row_sums, 2 * parameters, 0);
    measure(gpu, w, "Muon, update", update, 12 * parameters, 0);
}

void gpu_measure_operations(const Gpu *gpu, int B, int T, int C, int V) {
    Work w = {.ops = layer_ops(gpu->device, TYPE_BF16),
              .optim = optim_ops(gpu->device, TYPE_F32),
              .factors = optim_ops(gpu->device, TYPE_BF16),
              .B = B,
              .T = T,
              .C = C,
              .V = V,
              .F = 4 * C,
              .N = (int64_t)B * T};
    int heads = C / HEAD_DIM;
    w.logits_rows = CHUNK_BYTES / 2 / V < w.N ? CHUNK_BYTES / 2 / V : w.N;
    for (int i = 0; i < N_ARRAYS; i++) w.x[i] = gpu_filled(gpu, TYPE_BF16, w.N * w.F, 1);
    for (int i = 0; i < 2; i++) w.stats[i] = gpu_filled(gpu, TYPE_F32, w.N * heads, 1);
    w.gain = gpu_filled(gpu, TYPE_BF16, w.F, 1);
    w.logits = gpu_filled(gpu, TYPE_BF16, w.logits_rows * V, 1);
    w.wte = gpu_filled(gpu, TYPE_BF16, (int64_t)V * C, 1);
    w.dwte = gpu_need(gpu, (size_t)V * (size_t)C * 4);
    w.dwpe = gpu_need(gpu, (size_t)(T > 4 ? T : 4) * (size_t)C * 4);
    w.loss = gpu_need(gpu, sizeof *w.loss);
    w.attention = (AttentionShape){.B = B,
                                   .n_head = heads,
                                   .n_kv_head = heads,
                                   .head_dim = HEAD_DIM,
                                   .q_len = T,
                                   .kv_len = T,
                                   .q_row = 3 * C,
                                   .q_batch = (int64_t)T * 3 * C,
                                   .kv_row = 3 * C,
                                   .kv_batch = (int64_t)T * 3 * C,
                                   .out_row = C,
                                   .out_batch = (int64_t)T * C,
                                   .scale = 0.125};
    int64_t distinct = make_batch(gpu, &w);
    make_matrices(gpu, &w);
    measure_layers(gpu, &w, distinct);
    measure_optimizers(gpu, &w);
}
