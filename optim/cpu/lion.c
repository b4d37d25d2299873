// Lion on the CPU.
#include "optim/cpu/rows.h"

typedef struct {
    real clip_scale, lr, beta1, one_minus_beta1, beta2, one_minus_beta2, weight_decay;
} LionScalars;

static LionScalars lion_scalars(const ElementUpdate *args) {
    const StepInputs *inputs = args->batch->inputs;
    int group = args->batch->group;
    return (LionScalars){.clip_scale = (real)args->batch->report->clip_scale,
                         .lr = (real)inputs->lr[group],
                         .beta1 = (real)inputs->beta1[group],
                         .one_minus_beta1 = (real)(1 - inputs->beta1[group]),
                         .beta2 = (real)inputs->beta2[group],
                         .one_minus_beta2 = (real)(1 - inputs->beta2[group]),
                         .weight_decay = (real)args->weight_decay};
}

static void lion_row(real *restrict p, real *restrict m, const real *restrict grad, int64_t n,
                     LionScalars scalars) {
    for (int64_t i = 0; i < n; i++) {
        real g = scalars.clip_scale * grad[i];
        // update direction: sign of the interpolation between momentum and gradient
        real u = scalars.beta1 * m[i] + scalars.one_minus_beta1 * g;
        // decoupled weight decay
        p[i] -= scalars.lr * (sign_of(u) + scalars.weight_decay * p[i]);
        // momentum
        m[i] = scalars.beta2 * m[i] + scalars.one_minus_beta2 * g;
    }
}

void OP_TABLE(lion_update)(Stream *s, const ElementUpdate *args) {
    (void)s;
    const MatrixBatch *batch = args->batch;
    if (batch->report->ok == 0) return;
    LionScalars scalars = lion_scalars(args);
    int64_t n = batch->count * batch->rows, rows = batch->rows, cols = batch->cols;
#pragma omp parallel for schedule(static) if (n * cols >= CPU_PARALLEL_MIN)
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row_offset(r, rows, cols, batch->stride);
        lion_row((real *)batch->master + at,
                 (real *)batch->state[0] + row_offset(r, rows, cols, batch->state_stride[0]),
                 (const real *)batch->grads + at, cols, scalars);
        write_weights(batch, at, cols);
    }
}
